/* Under AddressSanitizer, memory that stands by to be used again can be marked as not to be touched, so that
 * a use after free is found there too. Otherwise these do nothing. */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define BASE_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_POISONS 1
#endif
#endif

#ifdef BASE_POISONS
#include <sanitizer/asan_interface.h>
#define BASE_POISON(memory, bytes)   __asan_poison_memory_region(memory, bytes)
#define BASE_UNPOISON(memory, bytes) __asan_unpoison_memory_region(memory, bytes)
#else
#define BASE_POISON(memory, bytes)   ((void)(memory), (void)(bytes))
#define BASE_UNPOISON(memory, bytes) ((void)(memory), (void)(bytes))
#endif

#endif
