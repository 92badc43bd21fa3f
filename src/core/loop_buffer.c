/* core/loop_buffer.c -- the loop's buffer for one read: where it lies, and who has it. */
#include "core/loop.h"

#include <stdlib.h>

/* Some processors copy at half the speed to where the page's offset is a few bytes more than that of what is copied,
 * which begins at 0 often (what the kernel holds, and malloc's mappings at 16): this buffer is at neither. */
enum { LOOP_READ_PAGE = 4096, LOOP_READ_OFFSET = 64 };

static void
loop_free_read_buffer(char *buffer)
{
    if (buffer != NULL) {
        free(buffer - LOOP_READ_OFFSET);
    }
}

/* glibc maps a large block anew each time, and pays for its pages each time, until one of that size was freed in full.
 * Large reads are shrunk before they are freed, so it would never learn. */
static void
loop_keep_large_blocks(void)
{
    void *volatile block = malloc(2 * LOOP_READ_BUFFER);
    free(block);
}

static char *
loop_read_buffer(Loop *loop)
{
    if (UNLIKELY(loop->read_buffer == NULL)) {
        loop_keep_large_blocks();
        char *memory = aligned_alloc(LOOP_READ_PAGE, LOOP_READ_BUFFER + LOOP_READ_PAGE);
        if (memory == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        loop->read_buffer = memory + LOOP_READ_OFFSET;
    }
    return loop->read_buffer;
}

static void
loop_return_read_buffer(Loop *loop, char *buffer)
{
    if (UNLIKELY(loop->read_buffer != NULL || loop->state == LOOP_CLOSED)) {
        loop_free_read_buffer(buffer);
        return;
    }
    loop->read_buffer = buffer;
}
