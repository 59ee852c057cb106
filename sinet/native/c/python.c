/* `sinet.native.kernel`: what Python calls. It takes buffers of contiguous float32 and holds their sizes against the
   picture's before anything is read or written; the interpreter's lock is free meanwhile. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#include "network.h"

/* Only where it was measured: in registers of four floats it is slower than torch. */
static int native_supported(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static int side(int length) { return length >= STRIDE && length <= LARGEST_SIDE && length % STRIDE == 0; }

/* 1 where a buffer has so many bytes, aligned for floats; else 0 with ValueError set. */
static int holds(const Py_buffer *buffer, size_t bytes, const char *name)
{
    if ((size_t)buffer->len != bytes)
        PyErr_Format(PyExc_ValueError, "%s: expected %zu bytes, found %zd", name, bytes, buffer->len);
    else if ((uintptr_t)buffer->buf % sizeof(float))
        PyErr_Format(PyExc_ValueError, "%s: expected an address that is a multiple of 4", name);
    else
        return 1;
    return 0;
}

static int right_size(int height, int width)
{
    if (side(height) && side(width) && native_supported())
        return 1;
    PyErr_Format(
        PyExc_ValueError, "expected sides of %d to %d, multiples of %d, and a processor with AVX2 and FMA, found %dx%d",
        STRIDE, LARGEST_SIDE, STRIDE, height, width);
    return 0;
}

/* Level 1 needs no whole vectors; the two widest tensors lie side by side. */
static int right_channels(const struct channels *c)
{
    if (c->level1 > 0 && c->start2 > 0 && c->detail > 0 && c->start3 > 0 && c->deep > 0 && c->hidden > 0 &&
        c->start2 % LANES == 0 && c->detail % (2 * LANES) == 0 && c->start3 % LANES == 0 &&
        c->deep % (2 * LANES) == 0 && c->level1 <= MOST_CHANNELS && c->start2 <= MOST_CHANNELS &&
        c->detail <= MOST_CHANNELS - c->start2 && c->start3 <= MOST_CHANNELS && c->hidden <= MOST_CHANNELS &&
        c->deep <= MOST_CHANNELS - c->start3)
        return 1;
    PyErr_Format(
        PyExc_ValueError,
        "expected channels in vectors of %d, of the S2 modules in two halves of them, at most %d in all, found %d, %d, %d, "
        "%d, %d, %d", LANES, MOST_CHANNELS, c->level1, c->start2, c->detail, c->start3, c->deep, c->hidden);
    return 0;
}

static size_t scratch_bytes(const struct channels *channels, int height, int width)
{
    return scratch_floats(channels, height, width) * sizeof(float) + 63;
}

/* What `PyArg_ParseTuple` takes for CHANNELS. */
#define CHANNELS "(iiiiii)"
#define PARTS(c) &(c).level1, &(c).start2, &(c).detail, &(c).start3, &(c).deep, &(c).hidden

static float *aligned(const Py_buffer *scratch) { return (float *)(((uintptr_t)scratch->buf + 63) / 64 * 64); }

static PyObject *py_supported(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyBool_FromLong(native_supported());
}

static PyObject *py_weights_size(PyObject *self, PyObject *args)
{
    (void)self;
    struct channels channels;
    if (!PyArg_ParseTuple(args, CHANNELS, PARTS(channels)) || !right_channels(&channels))
        return NULL;
    return PyLong_FromSize_t(weights_floats(&channels));
}

static PyObject *py_scratch_size(PyObject *self, PyObject *args)
{
    (void)self;
    int height, width;
    struct channels channels;
    if (!PyArg_ParseTuple(args, CHANNELS "ii", PARTS(channels), &height, &width) || !right_channels(&channels) ||
        !right_size(height, width))
        return NULL;
    return PyLong_FromSize_t(scratch_bytes(&channels, height, width));
}

static PyObject *py_logits(PyObject *self, PyObject *args)
{
    (void)self;
    int count, height, width;
    struct channels channels;
    Py_buffer weights, x, scratch, out;
    if (!PyArg_ParseTuple(
            args, CHANNELS "y*y*w*w*iii", PARTS(channels), &weights, &x, &scratch, &out, &count, &height, &width))
        return NULL;
    int right = 0;
    if (right_channels(&channels) && right_size(height, width)) {
        size_t pixels = (size_t)height * width;
        if (count < 0 || count > INT32_MAX / LARGEST_SIDE)
            PyErr_Format(PyExc_ValueError, "a batch of %d is too large", count);
        else
            right = holds(&weights, weights_floats(&channels) * sizeof(float), "weights") &&
                    holds(&x, count * 3 * pixels * sizeof(float), "x") &&
                    holds(&scratch, scratch_bytes(&channels, height, width), "scratch") &&
                    holds(&out, count * CLASSES * pixels * sizeof(float), "out");
        if (right) {
            Py_BEGIN_ALLOW_THREADS;
            for (int i = 0; i < count; i++) {
                struct picture picture = {
                    .height = height, .width = width, .planes = (const float *)x.buf + i * 3 * pixels};
                logits(&channels, weights.buf, &picture, aligned(&scratch), (float *)out.buf + i * CLASSES * pixels);
            }
            Py_END_ALLOW_THREADS;
        }
    }
    PyBuffer_Release(&weights);
    PyBuffer_Release(&x);
    PyBuffer_Release(&scratch);
    PyBuffer_Release(&out);
    if (!right)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_probability(PyObject *self, PyObject *args)
{
    (void)self;
    struct picture picture = {0};
    struct channels channels;
    Py_buffer weights, pixels, scratch, out;
    float *m = picture.mean, *f = picture.factor;
    int *o = picture.order;
    if (!PyArg_ParseTuple(
            args, CHANNELS "y*y*w*w*ii(fff)(fff)(iii)", PARTS(channels), &weights, &pixels, &scratch, &out, &picture.height, &picture.width, m,
            m + 1, m + 2, f, f + 1, f + 2, o, o + 1, o + 2))
        return NULL;
    int right = 0;
    if (right_channels(&channels) && right_size(picture.height, picture.width)) {
        size_t area = (size_t)picture.height * picture.width;
        for (int c = 0; c < 3; c++)
            if (o[c] < 0 || o[c] > 2)
                PyErr_Format(PyExc_ValueError, "expected channels 0 to 2, found %d", o[c]);
        right = !PyErr_Occurred() && holds(&weights, weights_floats(&channels) * sizeof(float), "weights") &&
                holds(&scratch, scratch_bytes(&channels, picture.height, picture.width), "scratch") &&
                holds(&out, area * sizeof(float), "out");
        if (right && (size_t)pixels.len != area * 3) {
            PyErr_Format(PyExc_ValueError, "pixels: expected %zu bytes, found %zd", area * 3, pixels.len);
            right = 0;
        }
        if (right) {
            picture.pixels = pixels.buf;
            Py_BEGIN_ALLOW_THREADS;
            probability(&channels, weights.buf, &picture, aligned(&scratch), out.buf);
            Py_END_ALLOW_THREADS;
        }
    }
    PyBuffer_Release(&weights);
    PyBuffer_Release(&pixels);
    PyBuffer_Release(&scratch);
    PyBuffer_Release(&out);
    if (!right)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"supported", py_supported, METH_NOARGS, "Whether this processor can run it."},
    {"weights_size", py_weights_size, METH_VARARGS, "Floats of the packed weights."},
    {"scratch_size", py_scratch_size, METH_VARARGS, "Bytes of working memory for channels, a height and a width."},
    {"logits", py_logits, METH_VARARGS, "Write the logits of pictures N x 3 x H x W."},
    {"probability", py_probability, METH_VARARGS, "Write the probability of a picture H x W x 3 of bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "kernel", "SINet's arithmetic, without torch.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_kernel(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddIntConstant(module, "LAYOUT", LAYOUT) < 0)
        Py_CLEAR(module);
    return module;
}
