// A packed network in WebAssembly, written by bnnlib. A classic script, so that it works on a page opened from a file.

/** One network. Several may be made; each has a memory of its own. */
class NAME {
    constructor() {
        const code = Uint8Array.from(atob(NAME.code), (letter) => letter.charCodeAt(0));
        const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), {});
        /** @private */ this.exports = exports;
        /** @private */ this.input = new Float32Array(exports.memory.buffer, exports.input_address(), NAME.inputs);
        /** @private */ this.output = new Float32Array(exports.memory.buffer, exports.scores_address(), NAME.classes.length);
        const table = new Int32Array(exports.memory.buffer, exports.layers_address(), 3 * exports.layers_count());
        /**
         * The binary weights of each layer that has bits for inputs, 32 to a word, a 1 for +1, the first in the lowest bit;
         * the words of a row may have more bits than it. Writing to them changes the network.
         * @type {{words: Uint32Array, rows: number, bits: number}[]}
         */
        this.layers = [];
        for (let at = 0; at < table.length; at += 3) {
            const [address, rows, bits] = table.slice(at, at + 3);
            const words = new Uint32Array(exports.memory.buffer, address, rows * Math.ceil(bits / 32));
            this.layers.push({ words, rows, bits });
        }
    }

    /**
     * The whole sums of the last layer for the last input, before its scale and norm; null if they are no whole numbers.
     * @returns {Int32Array | null}
     */
    sums() {
        const { exports } = this;
        const address = exports.sums_address();
        return address ? new Int32Array(exports.memory.buffer, address, NAME.classes.length).slice() : null;
    }

    /**
     * The score of each class.
     * @param {ArrayLike<number>} input prepared as for the trained network, NAME.shape, channels first
     * @returns {Float32Array}
     */
    scores(input) {
        if (input.length !== NAME.inputs) {
            throw new RangeError(`the network takes ${NAME.inputs} numbers, received ${input.length}`);
        }
        this.input.set(input);
        this.exports.run();
        return this.output.slice();
    }

    /**
     * The class with the highest score; the first of equals.
     * @param {ArrayLike<number>} input as for scores
     * @returns {number}
     */
    predict(input) {
        const scores = this.scores(input);
        return scores.indexOf(Math.max(...scores));
    }
}

/** @type {number} */ NAME.inputs = INPUTS;
/** @type {number[]} */ NAME.shape = SHAPE;
/** @type {string[]} the names of the classes, or their numbers */ NAME.classes = CLASSES;
/** @type {string} the module, in base64 */ NAME.code = "CODE";
