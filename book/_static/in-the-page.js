// The page "A network in the page": a packed network of bits, tried live. Needs FashionBits.js and fashion-images.js.
"use strict";

(() => {
    const SIZE = 28;
    const root = document.getElementById("bits-demo");
    if (!root) return;
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const { mean, deviation, images, labels } = FashionImages;
    const pixels = Uint8Array.from(atob(images), (letter) => letter.charCodeAt(0));

    /** A generator of its own (mulberry32), so that the same settings give the same picture. */
    function random(seed) {
        let state = seed >>> 0;
        return () => {
            state = (state + 0x6d2b79f5) | 0;
            let t = Math.imul(state ^ (state >>> 15), 1 | state);
            t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
            return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
        };
    }

    /** @returns {number} of a normal distribution with mean 0 and deviation 1 */
    const normal = (next) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

    /** The chosen image, shifted and with noise, 0 to 255. */
    function picture(number, across, down, noise) {
        const next = random(number + 1), shown = new Float32Array(SIZE * SIZE);
        for (let y = 0; y < SIZE; y++) {
            for (let x = 0; x < SIZE; x++) {
                const fromX = x - across, fromY = y - down;
                const inside = fromX >= 0 && fromX < SIZE && fromY >= 0 && fromY < SIZE;
                const value = inside ? pixels[number * SIZE * SIZE + fromY * SIZE + fromX] : 0;
                shown[y * SIZE + x] = Math.min(255, Math.max(0, Math.round(value + noise * normal(next))));
            }
        }
        return shown;
    }

    /** A network, some of whose weights are turned over: a share of them, the same ones for the same share. */
    function damaged(share) {
        const network = new FashionBits(), next = random(7);
        let turned = 0, all = 0;
        for (const { words, rows, bits } of network.layers) {
            const perRow = words.length / rows;
            for (let row = 0; row < rows; row++) {
                for (let bit = 0; bit < bits; bit++) {
                    all++;
                    if (next() >= share) continue;
                    words[row * perRow + (bit >> 5)] ^= 1 << (bit & 31);
                    turned++;
                }
            }
        }
        return { network, turned, all };
    }

    function draw(shown) {
        const canvas = find("image"), context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
        shown.forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
        context.putImageData(image, 0, 0);
    }

    /** The time of one run, in microseconds: many are timed together, since the clock of a page is coarse. */
    function timed(network, input) {
        const runs = 50, begun = performance.now();
        for (let run = 0; run < runs; run++) network.scores(input);
        return (1000 * (performance.now() - begun)) / runs;
    }

    let current = damaged(0), share = 0;

    function update() {
        const number = Number(find("number").value);
        const [across, down, noise] = ["across", "down", "noise"].map((name) => Number(find(name).value));
        const wanted = Number(find("share").value) / 100;
        if (wanted !== share) {
            current = damaged(wanted);
            share = wanted;
        }
        const shown = picture(number, across, down, noise);
        draw(shown);
        const input = shown.map((value) => (value - mean) / deviation);
        const scores = current.network.scores(input), sums = current.network.sums();
        const best = scores.indexOf(Math.max(...scores)), truth = labels[number];
        find("truth").textContent = FashionBits.classes[truth];
        find("answer").textContent = FashionBits.classes[best];
        find("answer").dataset.right = best === truth;
        find("time").textContent = `${timed(current.network, input).toFixed(0)} µs an image, in this browser`;
        for (const name of ["number", "across", "down", "noise", "share"]) {
            find(`${name}-value`).textContent = find(name).value;
        }
        find("turned").textContent = `${current.turned.toLocaleString("en")} of ${current.all.toLocaleString("en")} binary weights flipped`;
        const least = Math.min(...scores), most = Math.max(...scores);
        find("scores").querySelectorAll("tr[data-class]").forEach((row, at) => {
            row.querySelector("[data-sum]").textContent = sums ? sums[at] : "";
            row.querySelector("[data-score]").textContent = scores[at].toFixed(2);
            row.querySelector("meter").value = (scores[at] - least) / (most - least || 1);
            row.dataset.best = at === best;
        });
    }

    const body = find("scores").querySelector("tbody");
    FashionBits.classes.forEach((name, at) => {
        const row = body.insertRow();
        row.dataset.class = at;
        row.innerHTML = "<th scope='row'></th><td data-sum></td><td data-score></td><td><meter min='0' max='1'></meter></td>";
        row.querySelector("th").textContent = name;
        row.querySelector("meter").setAttribute("aria-label", `score of ${name}`);
    });
    find("number").max = labels.length - 1;
    root.querySelectorAll("input").forEach((input) => input.addEventListener("input", update));
    find("reset").addEventListener("click", () => {
        root.querySelectorAll("input").forEach((input) => (input.value = input.defaultValue));
        update();
    });
    root.hidden = false;
    update();
})();
