/* net/tls/openssl.c -- finding libssl among what the process has loaded, and checking that it is the one, and as it is
 * expected. */
#include "net/tls/openssl.h"

#include <dlfcn.h>
#include <string.h>

#define OPENSSL_LAYOUT_KNOWN (!COMPAT_AT_LEAST(3, 16)) /* of the two structs below */

static const char OPENSSL_CAPSULE[] = "asyncloop.openssl";
static const char OPENSSL_PROBE_NAME[] = "probe.invalid";

struct openssl_py_socket { /* the beginning of _ssl.c's PySSLSocket */
    PyObject_HEAD
    PyObject *socket;
    SSL *ssl;
};

struct openssl_py_context { /* and of its PySSLContext */
    PyObject_HEAD
    SSL_CTX *ctx;
};

static SSL *
openssl_ssl_borrowed(PyObject *native)
{
    return ((struct openssl_py_socket *)native)->ssl;
}

static inline void
openssl_forget_errors(const struct openssl *o)
{
    if (UNLIKELY(o->ERR_peek_error() != 0)) { /* a fifth of what clearing costs */
        o->ERR_clear_error();
    }
}

static const struct openssl *
openssl_of(const struct state *st)
{
    PyObject *capsule = state_once_borrowed(&st->openssl);
    return capsule == NULL || capsule == Py_None ? NULL : PyCapsule_GetPointer(capsule, OPENSSL_CAPSULE);
}

static void
openssl_on_capsule_dead(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, OPENSSL_CAPSULE));
}

/* The functions as `_ssl` sees them. False when one is missing. */
static bool
openssl_find_functions(struct openssl *o, const char *ssl_file)
{
    void *library = dlopen(ssl_file, RTLD_NOLOAD | RTLD_LAZY);
    if (library == NULL) {
        return false;
    }
    bool all = true;
#define FIND(type, name, parameters) all = all && (*(void **)&o->name = dlsym(library, #name)) != NULL;
    OPENSSL_FUNCTIONS(FIND)
#undef FIND
    dlclose(library); /* `_ssl` is never unloaded, nor what it needs */
    return all;
}

/* The path of `_ssl`, which lives in *text_owner. NULL, maybe with an exception, when `_ssl` is built into the
 * interpreter: then nothing tells to which OpenSSL a symbol belongs. */
static const char *
openssl_ssl_file(PyObject *native_module, PyObject **text_owner)
{
    *text_owner = PyObject_GetAttrString(native_module, "__file__");
    return *text_owner == NULL ? NULL : PyUnicode_AsUTF8(*text_owner);
}

static bool
openssl_is_right_version(const struct openssl *o, PyObject *native_module)
{
    PyObject *text = PyObject_GetAttrString(native_module, "OPENSSL_VERSION");
    const char *version = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    bool is_right =
        version != NULL && strncmp(version, "OpenSSL ", 8) == 0 && strcmp(version, o->OpenSSL_version(0)) == 0;
    Py_XDECREF(text);
    return is_right;
}

/* Does a memory BIO show what was lent to it, and nothing once it was taken back? */
static bool
openssl_can_lend(const struct openssl *o, BIO *bio)
{
    char bytes[] = "abc", *shown = NULL;
    struct openssl_buffer *lent = o->BUF_MEM_new();
    if (lent == NULL) {
        return false;
    }
    *lent = (struct openssl_buffer){.length = 3, .data = bytes, .max = 3};
    bool is_shown = o->BIO_ctrl(bio, OPENSSL_BIO_C_SET_BUF_MEM, OPENSSL_BIO_NOCLOSE, lent) == 1
                    && o->BIO_ctrl(bio, OPENSSL_BIO_CTRL_PENDING, 0, NULL) == 3
                    && o->BIO_ctrl(bio, OPENSSL_BIO_CTRL_INFO, 0, &shown) == 3 && shown == bytes;
    *lent = (struct openssl_buffer){0};
    o->BIO_ctrl(bio, OPENSSL_BIO_C_SET_BUF_MEM, OPENSSL_BIO_CLOSE, lent); /* the BIO's from here on */
    return is_shown && o->BIO_ctrl(bio, OPENSSL_BIO_CTRL_PENDING, 0, NULL) == 0;
}

/* Try the layout on an object made for it; an exception means no. */
static bool
openssl_check(const struct openssl *o, PyObject *ssl_module)
{
    bool is_right = false;
    PyObject *in = PyObject_CallMethod(ssl_module, "MemoryBIO", NULL),
             *out = PyObject_CallMethod(ssl_module, "MemoryBIO", NULL);
    PyObject *version = PyObject_GetAttrString(ssl_module, "PROTOCOL_TLS_CLIENT"), *native = NULL, *object = NULL;
    PyObject *context = version == NULL ? NULL : PyObject_CallMethod(ssl_module, "SSLContext", "O", version);
    if (in != NULL && out != NULL && context != NULL) {
        object = PyObject_CallMethod(context, "wrap_bio", "OOOs", in, out, Py_False, OPENSSL_PROBE_NAME);
        native = object == NULL ? NULL : PyObject_GetAttrString(object, "_sslobj");
    }
    if (native != NULL && Py_TYPE(native)->tp_basicsize >= (Py_ssize_t)sizeof(struct openssl_py_socket)) {
        SSL *ssl = openssl_ssl_borrowed(native);
        SSL_CTX *ctx = ((struct openssl_py_context *)context)->ctx;
        if (ssl != NULL && ctx != NULL && o->SSL_get_SSL_CTX(ssl) == ctx) {
            const char *name = o->SSL_get_servername(ssl, OPENSSL_NAMETYPE_HOST);
            BIO *reads = o->SSL_get_rbio(ssl), *writes = o->SSL_get_wbio(ssl);
            is_right = name != NULL && strcmp(name, OPENSSL_PROBE_NAME) == 0 && reads != NULL && writes != NULL
                       && reads != writes && openssl_can_lend(o, reads) && openssl_can_lend(o, writes);
        }
    }
    Py_XDECREF(native);
    Py_XDECREF(object);
    Py_XDECREF(context);
    Py_XDECREF(version);
    Py_XDECREF(out);
    Py_XDECREF(in);
    return is_right;
}

/* A new table, or NULL, maybe with an exception. */
static struct openssl *
openssl_find(PyObject *ssl_module)
{
    const char *choice = getenv("ASYNCLOOP_TLS");
    if (!OPENSSL_LAYOUT_KNOWN || (choice != NULL && strcmp(choice, "portable") == 0)) {
        return NULL;
    }
    PyObject *native_module = PyImport_ImportModule("_ssl"), *file = NULL;
    const char *path = native_module == NULL ? NULL : openssl_ssl_file(native_module, &file);
    struct openssl *o = path == NULL ? NULL : PyMem_Calloc(1, sizeof *o);
    if (o != NULL
        && !(openssl_find_functions(o, path) && openssl_is_right_version(o, native_module)
             && openssl_check(o, ssl_module))) {
        PyMem_Free(o);
        o = NULL;
    }
    Py_XDECREF(file);
    Py_XDECREF(native_module);
    return o;
}

static int
openssl_load(struct state *st)
{
    if (state_once_borrowed(&st->openssl) != NULL) {
        return 0;
    }
    PyObject *ssl_module = PyImport_ImportModule("ssl");
    if (ssl_module == NULL) {
        return -1;
    }
    struct openssl *o = openssl_find(ssl_module);
    Py_DECREF(ssl_module);
    if (PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) { /* no answer yet: ask again next time */
            PyMem_Free(o);
            return -1;
        }
        PyErr_Clear();
        PyMem_Free(o);
        o = NULL;
    }
    PyObject *found = o == NULL ? Py_NewRef(Py_None) : PyCapsule_New(o, OPENSSL_CAPSULE, openssl_on_capsule_dead);
    if (found == NULL) {
        PyMem_Free(o);
        return -1;
    }
    state_set_once(&st->openssl, found); /* another thread may have been as fast */
    Py_DECREF(found);
    return 0;
}
