/* Large payloads between processes of one machine, through memory that they share instead of a socket
 * (docs/protocol.md section 11).
 *
 * The process that starts the others is the *home*; those that it has started are its *guests*. Each
 * process writes into a memory of its own, its *heap*, and everybody else only reads there:
 *
 *   home's heap   one memfd:          [generations][blocks]
 *   guest's heap  one memfd a guest:  [head][guest's holds on home's blocks]
 *                                     [home's holds on the guest's blocks][generations][blocks]
 *
 * A block is a wire_blob. A message that is sent carries a *reference* (a small frame) in its place, and
 * whoever receives it gets a blob again, which holds the block until it is destroyed. A block is used
 * again when its owner has dropped it and nobody holds it. Memfds have no name and go with the last
 * process that has them, so there is nothing to clean up, however the processes die.
 *
 * Nothing here is needed for messages to arrive: where there is no shared memory, or no more of it, the
 * bytes themselves are sent. Blobs may be destroyed on any thread; wire_shared_block may be called by
 * any thread; the rest belongs to the I/O thread. No function blocks. */
#ifndef WIRE_SHARED_H
#define WIRE_SHARED_H

#include "wire/message.h"

#include <stdatomic.h>

/* Blocks consist of units of this size. */
#define WIRE_SHARED_UNIT_BYTES (16u << 10)
/* What a heap keeps of memory that is free, for the next blocks; if more is used, as much as that. */
#define WIRE_SHARED_KEEP_BYTES (32u << 20)
#define WIRE_SHARED_BYTES_MAX  (UINT64_C(64) << 30)

struct wire_shared_heap;
struct wire_shared_home;
struct wire_shared_guest; /* as home sees it */
struct wire_shared_own;   /* as it sees itself */

/* ------------------------------------------------------------------- blocks */

/* wire_shared_block gives a blob of `size` (at least 1) bytes in the heap, which may be written to until
 * it is shared; the writer may also move blob->data forward and make blob->size smaller, as long as the
 * bytes stay inside. NULL: there is no room, or no memory; take memory of another kind. */
struct wire_blob *wire_shared_block(struct wire_shared_heap *heap, size_t size);

/* What a heap consists of at the moment, in bytes. */
struct wire_shared_usage {
    uint64_t room;     /* for blocks, altogether */
    uint64_t used;     /* by blocks, also those that only a reader still holds */
    uint64_t resident; /* memory taken from the system: by blocks, or kept for them */
};
void wire_shared_usage(struct wire_shared_heap *heap, struct wire_shared_usage *usage);

/* --------------------------------------------------------------------- home */

/* wire_shared_home_new makes home's heap.
 *
 * bytes   of blocks at most, in each heap: home's and each guest's; rounded down to whole units, and at
 *         most WIRE_SHARED_BYTES_MAX. Memory is only taken from the system as it is used.
 * fd_min  no descriptor that this makes is below
 *
 * Returns 0, or an errno: ENOTSUP (no memfd that can be sealed, or bytes are less than a large payload),
 * EFBIG (the limit of a file's size is below), ENOMEM, EMFILE, ENFILE. */
int wire_shared_home_new(uint64_t bytes, int fd_min, struct wire_shared_home **home);
/* wire_shared_home_free: blobs live on, and what they need. NULL is fine. */
void wire_shared_home_free(struct wire_shared_home *home);
struct wire_shared_heap *wire_shared_home_heap(struct wire_shared_home *home);
/* wire_shared_home_fd is home's memory, for guests to be; it stays home's. */
int wire_shared_home_fd(const struct wire_shared_home *home);

/* wire_shared_admit makes the memory of a guest that is about to be started.
 *
 * session  what it will call itself in HELLO
 * fd       gets the descriptor of its memory: the caller's, to be closed when the guest has it
 *
 * Returns NULL with errno: EMFILE, ENFILE, ENOMEM, ENOTSUP. */
struct wire_shared_guest *wire_shared_admit(struct wire_shared_home *home,
                                            struct wire_session session, int *fd);
/* wire_shared_dismiss forgets a guest whose process is dead: nothing is held by it any more. What it has
 * sent stays readable. NULL is fine. */
void wire_shared_dismiss(struct wire_shared_guest *guest);

/* wire_shared_out takes the reference of a message to `peer`, and gives the message to be sent: the same
 * one, or, if the peer is a guest and there are blocks of home's heap in it, one with references to
 * them. home may be NULL. */
struct wire_message *wire_shared_out(struct wire_shared_home *home, uint64_t peer,
                                     struct wire_message *message);
/* wire_shared_in looks at a message that has just been received from `peer`, and puts blobs in the
 * place of references. A HELLO of a guest makes its peer known. False: it refers to what there is not,
 * or there is no memory to look at a HELLO; the message is to be dropped (the link sees that it is
 * missing). home may be NULL. */
bool wire_shared_in(struct wire_shared_home *home, uint64_t peer, struct wire_message *message);

/* -------------------------------------------------------------------- guest */

/* wire_shared_own_open maps both memories and tells home so; the descriptors stay the caller's, and may
 * be closed. Returns 0 or an errno: EINVAL (they are no such memories), ENOMEM. */
int wire_shared_own_open(int home_fd, int own_fd, struct wire_shared_own **own);
void wire_shared_own_close(struct wire_shared_own *own); /* blobs live on; NULL is fine */
struct wire_shared_heap *wire_shared_own_heap(struct wire_shared_own *own);
/* The same as out and in above, for the one peer that a guest has. own may be NULL. */
struct wire_message *wire_shared_own_out(struct wire_shared_own *own, struct wire_message *message);
bool wire_shared_own_in(struct wire_shared_own *own, struct wire_message *message);

#endif
