/* plain/gate.h -- threads wait until a loop's thread has finished what it is at.
 *
 * A waiter notes gate.generation while what it waits for cannot change (the GIL held), then waits without the GIL until
 * the generation is another. generation and n_waiting change under the GIL; generation under the mutex too, so that no
 * wake-up is lost. Errors: none.  Used by core/handle.c. */
#ifndef ASYNCLOOP_PLAIN_GATE_H
#define ASYNCLOOP_PLAIN_GATE_H

#include <pthread.h>
#include <stdint.h>

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    uint64_t generation;
    uint32_t n_waiting;
};

static void gate_init(struct gate *g);
static void gate_clear(struct gate *g);                     /* nobody may wait */
/* any thread, without the GIL: until the generation is another */
static void gate_wait(struct gate *g, uint64_t generation);
static void gate_open(struct gate *g);                      /* a new generation: wakes all who wait */

#endif
