/* plain/gate.c -- waiting at the gate, and opening it. */
#include "plain/gate.h"

static void
gate_init(struct gate *g)
{
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->opened, NULL);
    g->generation = 0;
    g->n_waiting = 0;
}

static void
gate_clear(struct gate *g)
{
    pthread_cond_destroy(&g->opened);
    pthread_mutex_destroy(&g->mutex);
}

static void
gate_wait(struct gate *g, uint64_t generation)
{
    pthread_mutex_lock(&g->mutex);
    while (g->generation == generation) {
        pthread_cond_wait(&g->opened, &g->mutex);
    }
    pthread_mutex_unlock(&g->mutex);
}

static void
gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->generation++;
    pthread_cond_broadcast(&g->opened);
    pthread_mutex_unlock(&g->mutex);
}
