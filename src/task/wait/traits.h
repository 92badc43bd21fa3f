/* task/wait/traits.h -- how this very asyncio behaves, where patch releases of one Python version differ.
 *
 * Asked once, at import: which names the code of asyncio's own functions uses tells which of the known variants it is.
 * A function that cannot be read (somebody replaced it) counts as the variant of the version's first release.  What
 * follows from the version alone is a COMPAT_ feature (base/compat.h). */
#ifndef ASYNCLOOP_TASK_TRAITS_H
#define ASYNCLOOP_TASK_TRAITS_H

#include "core/state.h"

static int traits_read(struct state *st) MUST_CHECK;

#endif
