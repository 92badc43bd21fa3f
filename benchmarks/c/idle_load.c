/* idle_load -- many TLS connections that do nothing: opens CONNECTIONS, sends one message of BYTES on each, reads its echo, then holds them.
 *
 *     idle_load PORT CONNECTIONS BYTES
 *
 * Prints "ready" and a newline when all are open and have had their echo; keeps them until its stdin reaches end of file.
 *
 * Exit status: 0, 1 something failed, 2 wrong arguments. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* Its SSL; the memory of this process does not matter. */
static SSL *open_one(SSL_CTX *context, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
        die("handshake");
    return ssl;
}

static void echo_once(SSL *ssl, char *message, int n_bytes)
{
    if (SSL_write(ssl, message, n_bytes) != n_bytes)
        die("SSL_write");
    for (int received = 0; received < n_bytes;) {
        int n = SSL_read(ssl, message, n_bytes);
        if (n <= 0)
            die("SSL_read");
        received += n;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT CONNECTIONS BYTES\n", argv[0]);
        return 2;
    }
    int port = atoi(argv[1]), n_connections = atoi(argv[2]), n_bytes = atoi(argv[3]);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    char *message = n_bytes > 0 ? calloc(1, (size_t)n_bytes) : NULL;
    if (!context || !message || n_connections <= 0)
        die("setting up");
    for (int i = 0; i < n_connections; i++)
        echo_once(open_one(context, port), message, n_bytes);
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, message, 1) > 0)
        ;
    return 0;
}
