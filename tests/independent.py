"""Independent float64 NumPy statement of the quantizers, their forwards and their gradients.

Written only from the method specification (methods.md, sections 0 and a-h), without sight of the
library, so that the library's tests have something to be compared with. Plain loops over filters,
no cleverness. Throughout:

W    latent weight (O, ...), one filter per entry of the first axis; n elements per filter; C = W.shape[1]
G, g upstream gradient: the derivative of the cost by the OUTPUT of the quantizer
y    output;  d  the factor that multiplies the upstream gradient (a "derivative" of sign)
zero the value that sign takes at 0 (+1 unless told otherwise; -0.0 counts as zero)
"""

import numpy as np


def _f64(x):
    return np.asarray(x, dtype=np.float64)


def _pair(value):
    """One int or a pair of ints, as (vertical, horizontal)."""
    return (value, value) if np.isscalar(value) else (value[0], value[1])


def _per_channel(values, x):
    """(C,) reshaped so that it broadcasts along axis 1 of x (N, C, ...)."""
    return _f64(values).reshape((1, -1) + (1,) * (x.ndim - 2))


def _sum_to_channels(x):
    """Sum of x (N, C, ...) over every axis but the channel axis."""
    return x.sum(axis=(0, *range(2, x.ndim)))


# ---------------------------------------------------------------- sign and the stand-ins for its derivative


def sign(x, zero=1.0):
    """+1 above 0, -1 below, `zero` at 0 and -0.0 (conventions of section 0)."""
    x = _f64(x)
    y = np.full(x.shape, float(zero))
    y[x > 0] = 1.0
    y[x < 0] = -1.0
    return y


def identity_ste(x):
    """BinaryConnect (Courbariaux 2015): Wb = +1 if W >= 0 else -1; dC/dW := dC/dWb with no mask."""
    x = _f64(x)
    return sign(x), np.ones(x.shape)


def ste_sign(x, clip=1.0):
    """BNN (Hubara 2016), larq ste_sign: factor 1[abs(x) <= clip], ends included; clip None: factor 1."""
    x = _f64(x)
    if clip is None:
        return sign(x), np.ones(x.shape)
    return sign(x), (np.abs(x) <= clip).astype(np.float64)


def strict_sign(x, zero=1.0):
    """XNOR-Net code (Rastegari 2016), activations: factor 1[-1 < x < 1], ends excluded."""
    x = _f64(x)
    return sign(x, zero), ((x > -1) & (x < 1)).astype(np.float64)


def approx_sign(x):
    """larq approx_sign: factor 2 (1 - abs(x)) for abs(x) <= 1, else 0."""
    x = _f64(x)
    return sign(x), np.where(np.abs(x) <= 1, 2 * (1 - np.abs(x)), 0.0)


def swish_sign(x, beta=5.0):
    """larq swish_sign: factor beta (2 - bx tanh(bx/2)) / (1 + cosh(bx)), bx = beta x.

    1 / (1 + cosh b) is written as 2 e / (1 + e)^2 with e = exp(-abs(b)), which cannot overflow.
    """
    x = _f64(x)
    b = beta * x
    e = np.exp(-np.abs(b))
    return sign(x), beta * (2 - b * np.tanh(b / 2)) * 2 * e / (1 + e) ** 2


def bireal_sign(x):
    """Bi-Real (Liu 2018): factor 2 + 2x on [-1, 0), 2 - 2x on [0, 1), else 0."""
    x = _f64(x)
    d = np.zeros(x.shape)
    left = (x >= -1) & (x < 0)
    right = (x >= 0) & (x < 1)
    d[left] = 2 + 2 * x[left]
    d[right] = 2 - 2 * x[right]
    return sign(x), d


def ede_derivative(z, t, k):
    """IR-Net (Qin 2020), EDE: k t (1 - tanh(t z)^2)."""
    return k * t * (1 - np.tanh(t * _f64(z)) ** 2)


def iee_derivative(z, t, k):
    """IE-Net (Ding 2022), IEE: k max(sqrt(3) t - 1.5 t^2 abs(z), 0)."""
    return k * np.maximum(np.sqrt(3) * t - 1.5 * t**2 * np.abs(_f64(z)), 0.0)


def iee_value(z, t, k):
    """IE-Net (Ding 2022), F(z): k (-sign(z) 3/4 t^2 z^2 + sqrt(3) t z) inside 2/(sqrt(3) t), k sign(z) beyond."""
    z = _f64(z)
    side = sign(z, zero=0.0)
    inside = k * (-side * 0.75 * t**2 * z**2 + np.sqrt(3) * t * z)
    return np.where(np.abs(z) < 2 / (np.sqrt(3) * t), inside, k * side)


def ede_schedule(p, t_min=0.1, t_max=10.0):
    """IR-Net (Qin 2020): (t, k) at the fraction p = e/E of the training; t geometric, k = max(1/t, 1)."""
    low, high = np.log10(t_min), np.log10(t_max)
    t = float(10 ** (low + (high - low) * p))
    return t, max(1 / t, 1.0)


def iee_schedule(p):
    """IE-Net (Ding 2022), weights: t = 10^(-2 + 3 p), k = max(1/t, 1)."""
    t = float(10 ** (-2 + 3 * p))
    return t, max(1 / t, 1.0)


def iee_activation_schedule(p):
    """IE-Net (Ding 2022), activations: the t of the weights but at least 1, and k = 1."""
    t, _ = iee_schedule(p)
    return max(t, 1.0), 1.0


# ---------------------------------------------------------------- XNOR-Net, the paper's formulas


def alpha(W):
    """XNOR-Net (Rastegari 2016): mean abs of each filter, shape (O,)."""
    return np.array([np.abs(w).mean() for w in _f64(W)])


def xnor_weight(W, zero=1.0):
    """XNOR-Net (Rastegari 2016): alpha sign(W), one alpha per filter."""
    W = _f64(W)
    y = np.zeros(W.shape)
    for o in range(len(W)):
        y[o] = np.abs(W[o]).mean() * sign(W[o], zero)
    return y


def xnor_weight_gradient_printed(W, G, zero=1.0):
    """XNOR-Net (Rastegari 2016), as printed: G (1/n + alpha 1[abs(W) <= 1]). No sign in it: `zero` is unused."""
    W, G = _f64(W), _f64(G)
    dW = np.zeros(W.shape)
    for o in range(len(W)):
        inside = np.abs(W[o]) <= 1
        dW[o] = G[o] * (1 / W[o].size + np.abs(W[o]).mean() * inside)
    return dW


def xnor_weight_gradient_exact(W, G, zero=1.0):
    """XNOR-Net, whole Jacobian of alpha: sign(W)/n sum_j G_j sign(W_j) + alpha G 1[abs(W) <= 1]."""
    W, G = _f64(W), _f64(G)
    dW = np.zeros(W.shape)
    for o in range(len(W)):
        s = sign(W[o], zero)
        inside = np.abs(W[o]) <= 1
        dW[o] = s / W[o].size * (G[o] * s).sum() + np.abs(W[o]).mean() * G[o] * inside
    return dW


def conv2d(x, w, stride, padding, dilation=(1, 1), groups=1):
    """Cross-correlation of x (N, C, H, W) with w (O, C/groups, kh, kw), zero padding, by loops."""
    x, w = _f64(x), _f64(w)
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    batch, _, height, width = x.shape
    filters, depth, kh, kw = w.shape
    span_h, span_w = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    rows, columns = (height - span_h) // sh + 1, (width - span_w) // sw + 1
    y = np.zeros((batch, filters, rows, columns))
    for o in range(filters):
        first = o // (filters // groups) * depth
        for i in range(rows):
            for j in range(columns):
                top, left = i * sh, j * sw
                patch = x[:, first : first + depth, top : top + span_h : dh, left : left + span_w : dw]
                y[:, o, i, j] = (patch * w[o]).sum(axis=(1, 2, 3))
    return y


def input_scale(x, kernel, stride, padding, dilation=(1, 1)):
    """XNOR-Net (Rastegari 2016): K = mean over channels of abs(x), averaged over each window; (N, 1, H', W').

    Padded zeros count in the average.
    """
    kh, kw = _pair(kernel)
    magnitude = np.abs(_f64(x)).mean(axis=1, keepdims=True)
    return conv2d(magnitude, np.full((1, 1, kh, kw), 1 / (kh * kw)), stride, padding, dilation)


def beta(x):
    """XNOR-Net (Rastegari 2016), linear layer: mean abs of each sample, (N, 1)."""
    return np.array([[np.abs(sample).mean()] for sample in _f64(x)])


# ---------------------------------------------------------------- other sign quantizers with a scale


def magnitude_aware(W, clip=1.0):
    """larq magnitude_aware_sign: y = alpha sign(W), alpha per filter and detached; factor alpha 1[abs(W) <= clip]."""
    W = _f64(W)
    y, d = np.zeros(W.shape), np.zeros(W.shape)
    for o in range(len(W)):
        scale = np.abs(W[o]).mean()
        y[o] = scale * sign(W[o])
        d[o] = scale * (np.abs(W[o]) <= clip)
    return y, d


def bireal_weight(W, G, zero=1.0):
    """Bi-Real (Liu 2018), PyTorch code: y = alpha sign(W), dW = G 1[abs(W) <= 1], without alpha."""
    W, G = _f64(W), _f64(G)
    return xnor_weight(W, zero), G * (np.abs(W) <= 1)


# ---------------------------------------------------------------- XNOR-Net as implemented, and the fused operator


def centred_clamped(W):
    """XNOR-Net port, steps 1 and 2: minus the mean over axis 1, then clamped to [-1, 1]."""
    W = _f64(W)
    return np.clip(W - W.mean(axis=1, keepdims=True), -1, 1)


def port_gradient(W_hat, G, imagenet=False, zero=1.0):
    """XNOR-Net PyTorch port: n (1 - 1/C) [alpha G + sign(W^)/n sum_j G_j sign(W^_j)]; ImageNet: times 1e9.

    The mask 1[-1 <= W^ <= 1] is left out: it is always 1 after the clamp. Written element by element.
    """
    W_hat, G = _f64(W_hat), _f64(G)
    channels = W_hat.shape[1]
    dW = np.zeros(W_hat.shape)
    for o in range(len(W_hat)):
        w, upstream = W_hat[o].ravel(), G[o].ravel()
        s = sign(w, zero)
        n = w.size
        scale = sum(abs(w)) / n
        along = sum(upstream * s)
        row = np.array([n * (1 - 1 / channels) * (scale * upstream[i] + s[i] / n * along) for i in range(n)])
        dW[o] = row.reshape(W_hat[o].shape)
    return dW * 1e9 if imagenet else dW


def lua_gradient(W_hat, G, flavour, zero=1.0):
    """XNOR-Net Lua: G (alpha 1[-1 < W^ < 1] + 1/n) (1 - 1/C), times n ("sgd") or times 1e9 ("adam").

    No sign in it: `zero` is unused. For "adam" the authors multiply every gradient of the network by 1e9.
    """
    if flavour not in ("sgd", "adam"):
        raise ValueError(f"flavour must be 'sgd' or 'adam', not {flavour!r}")
    W_hat, G = _f64(W_hat), _f64(G)
    channels = W_hat.shape[1]
    dW = np.zeros(W_hat.shape)
    for o in range(len(W_hat)):
        n = W_hat[o].size
        inside = (W_hat[o] > -1) & (W_hat[o] < 1)
        dW[o] = G[o] * (np.abs(W_hat[o]).mean() * inside + 1 / n) * (1 - 1 / channels)
        dW[o] *= n if flavour == "sgd" else 1e9
    return dW


def operator_gradient(W_hat, G, zero=0.0):
    """Section d, BinLinear / BinConv2d backward: n (1 - 1/C) [alpha G + (s/n) sum_filter(G s)].

    Section d has s = 0 where W^ = 0 ("only alpha G remains"), hence this function's other default.
    """
    W_hat, G = _f64(W_hat), _f64(G)
    filters, channels = W_hat.shape[:2]
    flat, upstream = W_hat.reshape(filters, -1), G.reshape(filters, -1)
    n = flat.shape[1]
    s = sign(flat, zero)
    scales = np.abs(flat).mean(axis=1, keepdims=True)
    sums = (upstream * s).sum(axis=1, keepdims=True)
    return (n * (1 - 1 / channels) * (scales * upstream + s / n * sums)).reshape(W_hat.shape)


def port_trajectory(W, step_gradient, steps, rate, zero=1.0):
    """XNOR-Net port, section c steps 1-8 with plain SGD; step_gradient(W~) gives dC/dW~. Returns the last W."""
    W = _f64(W)
    for _ in range(steps):
        W_hat = centred_clamped(W)
        G = step_gradient(xnor_weight(W_hat, zero))
        W = W_hat - rate * port_gradient(W_hat, G, zero=zero)
    return W


# ---------------------------------------------------------------- LSQ


def lsq(v, s, qn, qp):
    """LSQ (Esser 2020), eq. 1 and 2: s round(clip(v/s, -Qn, Qp)), round half to even."""
    return s * np.round(np.clip(_f64(v) / s, -qn, qp))


def lsq_gradients(v, s, qn, qp, g, gs):
    """LSQ (Esser 2020), eq. 3: (dv, ds).

    dv = g 1[-Qn < v/s < Qp];  ds = gs sum(g r) with r = -Qn at and below -Qn, Qp at and above Qp,
    else round(v/s) - v/s.
    """
    v, g = _f64(v), _f64(g)
    u = v / s
    r = np.where(u <= -qn, -qn, np.where(u >= qp, qp, np.round(u) - u))
    return g * ((u > -qn) & (u < qp)), float(gs * (g * r).sum())


def lsq_initial_step(v, qp):
    """LSQ (Esser 2020): 2 mean abs(v) / sqrt(Qp)."""
    return float(2 * np.abs(_f64(v)).mean() / np.sqrt(qp))


# ---------------------------------------------------------------- DoReFa and ternary weights


def _quantize(r, bits):
    """DoReFa: round((2^k - 1) r) / (2^k - 1), round half to even."""
    levels = 2**bits - 1
    return np.round(levels * r) / levels


def dorefa_weight(W, bits):
    """DoReFa (Zhou 2016): 2 quantize(tanh W / (2 max abs tanh W) + 1/2) - 1; 1 bit: sign(W) mean abs W (tensor)."""
    W = _f64(W)
    if bits == 1:
        return sign(W) * np.abs(W).mean()
    squashed = np.tanh(W)
    return 2 * _quantize(squashed / (2 * np.abs(squashed).max()) + 0.5, bits) - 1


def dorefa_weight_gradient(W, bits, g, detach_max=True):
    """DoReFa (Zhou 2016): straight through the rounding, exact elsewhere; 1 bit: dW = g.

    With T = tanh W and M = max abs T the output is T/M up to the rounding. detach_max keeps M constant:
    dW = g (1 - T^2)/M. Otherwise dC/dM = -sum(g T)/M^2 goes to the largest element (equal ones share it).
    """
    W, g = _f64(W), _f64(g)
    if bits == 1:
        return g.copy()
    squashed = np.tanh(W)
    largest = np.abs(squashed).max()
    dT = g / largest
    if not detach_max:
        at_max = np.abs(squashed) == largest
        dM = -(g * squashed).sum() / largest**2
        dT = dT + at_max / at_max.sum() * np.sign(squashed) * dM
    return dT * (1 - squashed**2)


def dorefa_activation(x, bits):
    """DoReFa (Zhou 2016): quantize(clip(x, 0, 1))."""
    return _quantize(np.clip(_f64(x), 0, 1), bits)


def dorefa_activation_gradient(x, bits, g):
    """DoReFa (Zhou 2016): g 1[0 <= x <= 1], ends included; the same for every `bits`."""
    x = _f64(x)
    return _f64(g) * ((x >= 0) & (x <= 1))


def ternary(W, per_filter=True):
    """TWN (Li 2016): codes sign(W) 1[abs(W) > 0.7 mean abs W], scale = mean abs of the kept; (y, codes, scale).

    scale is (O,), or a float with per_filter=False; where nothing is kept (all zeros) it is 0.
    """
    W = _f64(W)
    if not per_filter:
        y, codes, scale = ternary(W[None])
        return y[0], codes[0], float(scale[0])
    codes, scale = np.zeros(W.shape), np.zeros(len(W))
    y = np.zeros(W.shape)
    for o in range(len(W)):
        kept = np.abs(W[o]) > 0.7 * np.abs(W[o]).mean()
        codes[o][kept] = sign(W[o][kept])
        if kept.any():
            scale[o] = np.abs(W[o][kept]).mean()
        y[o] = scale[o] * codes[o]
    return y, codes, scale


# ---------------------------------------------------------------- IR-Net


def _libra_filter(w):
    """One filter: (standardised w, its deviation, 2^s)."""
    centred = w - w.mean()
    deviation = np.sqrt((centred**2).sum() / (w.size - 1))
    standard = centred / deviation
    return standard, deviation, 2.0 ** np.round(np.log2(np.abs(standard).mean()))


def libra(W, zero=1.0):
    """IR-Net (Qin 2020), Libra-PB: 2^s sign((W - mean)/sd), s = round(log2(mean abs)), sd unbiased, per filter."""
    W = _f64(W)
    y = np.zeros(W.shape)
    for o in range(len(W)):
        standard, _, power = _libra_filter(W[o])
        y[o] = power * sign(standard, zero)
    return y


def libra_gradient(W, G, t, k):
    """IR-Net (Qin 2020): h = 2^s G ede(w^); dW = [h - mean(h) - w^ sum(h w^)/(n-1)] / sd."""
    W, G = _f64(W), _f64(G)
    dW = np.zeros(W.shape)
    for o in range(len(W)):
        standard, deviation, power = _libra_filter(W[o])
        h = power * G[o] * ede_derivative(standard, t, k)
        dW[o] = (h - h.mean() - standard * (h * standard).sum() / (h.size - 1)) / deviation
    return dW


# ---------------------------------------------------------------- IE-Net


def _ie_filter(w, eps):
    """One filter: (w1, D) with w1 = (w - mean)/D, D = sqrt(unbiased variance + eps)."""
    centred = w - w.mean()
    D = np.sqrt((centred**2).sum() / (w.size - 1) + eps)
    return centred / D, D


def ie_weight(W, alpha_param, eps=1e-5, zero=1.0):
    """IE-Net (Ding 2022): alpha sign(w1), w1 the standardised filter, alpha learnable, (O,)."""
    W, scales = _f64(W), _f64(alpha_param).ravel()
    y = np.zeros(W.shape)
    for o in range(len(W)):
        w1, _ = _ie_filter(W[o], eps)
        y[o] = scales[o] * sign(w1, zero)
    return y


def ie_weight_gradients(W, alpha_param, G, t, k, eps=1e-5, zero=1.0):
    """IE-Net (Ding 2022): (dW, dalpha); G is by y = alpha sign(w1), so h = alpha G IEE'(w1).

    dW = [h - mean(h) - w1 sum(h w1)/(n-1)] / D;  dalpha = sum over the filter of G sign(w1).
    """
    W, G, scales = _f64(W), _f64(G), _f64(alpha_param).ravel()
    dW, dalpha = np.zeros(W.shape), np.zeros(len(W))
    for o in range(len(W)):
        w1, D = _ie_filter(W[o], eps)
        h = scales[o] * G[o] * iee_derivative(w1, t, k)
        dW[o] = (h - h.mean() - w1 * (h * w1).sum() / (h.size - 1)) / D
        dalpha[o] = (G[o] * sign(w1, zero)).sum()
    return dW, dalpha


def ie_activation_gradient(a, g, t, eps=1e-5):
    """IE-Net (Ding 2022), training, output sign(a0), a0 = a/D per sample (not centred): dx.

    u = g IEE'(a0) with k = 1 and the t given (see iee_activation_schedule);
    dx = [u - (a - mean a)/D sum(u a0)/(m-1)] / D, m elements per sample.
    """
    a, g = _f64(a), _f64(g)
    dx = np.zeros(a.shape)
    for i in range(len(a)):
        centred = a[i] - a[i].mean()
        m = a[i].size
        D = np.sqrt((centred**2).sum() / (m - 1) + eps)
        a0 = a[i] / D
        u = g[i] * iee_derivative(a0, t, 1.0)
        dx[i] = (u - centred / D * (u * a0).sum() / (m - 1)) / D
    return dx


# ---------------------------------------------------------------- ReActNet


def rsign(x, b):
    """ReActNet (Liu 2020), RSign: sign(x + b), b per channel, x (N, C, ...)."""
    x = _f64(x)
    return sign(x + _per_channel(b, x))


def rsign_gradients(x, b, g):
    """ReActNet (Liu 2020): dx = g times Bi-Real's factor at x + b; db = sum of dx per channel."""
    x = _f64(x)
    _, d = bireal_sign(x + _per_channel(b, x))
    dx = _f64(g) * d
    return dx, _sum_to_channels(dx)


def rprelu(x, slope, b1, b2):
    """ReActNet (Liu 2020), RPReLU: PReLU_slope(x + b1) + b2, all per channel."""
    x = _f64(x)
    z = x + _per_channel(b1, x)
    return np.where(z > 0, z, _per_channel(slope, x) * z) + _per_channel(b2, x)


def rprelu_gradients(x, slope, b1, b2, g):
    """ReActNet (Liu 2020): (dx, dslope, db1, db2); at x + b1 = 0 the derivative is the slope.

    b2 does not enter any gradient; it is an argument only so that the two functions are called alike.
    """
    x, g = _f64(x), _f64(g)
    z = x + _per_channel(b1, x)
    dx = g * np.where(z > 0, 1.0, _per_channel(slope, x))
    return dx, _sum_to_channels(g * np.minimum(z, 0.0)), _sum_to_channels(dx), _sum_to_channels(g)


# ---------------------------------------------------------------- losses


def _targets(scores, labels):
    """labels as targets in {-1, +1} of the shape of scores; class numbers (N,) become one +1 per row."""
    labels = np.asarray(labels)
    if labels.shape == scores.shape:
        return _f64(labels)
    targets = np.full(scores.shape, -1.0)
    for i in range(len(scores)):
        if labels[i] < 0:
            raise ValueError("labels (N,) are class numbers; give -1/+1 targets in the shape of scores")
        targets[i, int(labels[i])] = 1.0
    return targets


def squared_hinge(scores, labels):
    """BinaryConnect (Courbariaux 2015): mean over batch and classes of max(0, 1 - t o)^2, t in {-1, +1}.

    labels: class numbers (N,), or the targets themselves in the shape of scores (N, classes).
    """
    scores = _f64(scores)
    t = _targets(scores, labels)
    return float((np.maximum(0.0, 1 - t * scores) ** 2).mean())


def squared_hinge_gradient(scores, labels):
    """BinaryConnect (Courbariaux 2015): -2 t max(0, 1 - t o) / (N classes)."""
    scores = _f64(scores)
    t = _targets(scores, labels)
    return -2 * t * np.maximum(0.0, 1 - t * scores) / scores.size


def _log_softmax(scores):
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def distributional(student, teacher):
    """ReActNet (Liu 2020): -(1/N) sum_n sum_c softmax(teacher)_c log softmax(student)_c, logits (N, classes)."""
    student, teacher = _f64(student), _f64(teacher)
    return float(-(np.exp(_log_softmax(teacher)) * _log_softmax(student)).sum() / len(student))


def distributional_gradient(student, teacher):
    """ReActNet (Liu 2020): (softmax(student) - softmax(teacher)) / N, by the student's logits."""
    student, teacher = _f64(student), _f64(teacher)
    return (np.exp(_log_softmax(student)) - np.exp(_log_softmax(teacher))) / len(student)
