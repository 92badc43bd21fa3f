/* base/api.h -- macros every layer uses.  No functions, no state. */
#ifndef ASYNCLOOP_BASE_API_H
#define ASYNCLOOP_BASE_API_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define COLD __attribute__((cold, noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline)) /* on the hottest paths, whatever else the file comes to hold */
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* An invariant: checked in the debug, asan and cov flavours, no code in release. */
#ifdef ASYNCLOOP_DEBUG
#  include <assert.h>
#  undef NDEBUG
#  define INVARIANT(condition) assert(condition)
#  define CHECK_INVARIANTS(call) (call)
#else
#  define INVARIANT(condition) ((void)0)
#  define CHECK_INVARIANTS(call) ((void)(0 && (call, 0))) /* an x_check(): not run, but not unused either */
#endif

#endif
