/* net/conn/server.h -- the connections of one server.
 *
 * The base of the Python class Server (asyncloop/_connect.py): connections come and go without running Python code.
 * They are linked, not referenced, so that an abandoned transport is still noticed; a transport owns its server.  When
 * the last one has gone after mark_closed(), the subclass's _wakeup() is called. */
#ifndef ASYNCLOOP_NET_SERVER_H
#define ASYNCLOOP_NET_SERVER_H

#include "net/conn/transport.h"

typedef struct Server {
    PyObject_HEAD
    Transport *clients;
    Py_ssize_t n_clients;
    bool is_closed;
} Server;

static int server_register(PyObject *module, struct state *st) MUST_CHECK;
static void server_attach(Server *s, Transport *t);
/* Never fails: an exception of _wakeup goes to the exception handler. */
static void server_detach(Transport *t);

#endif
