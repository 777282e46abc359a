// The system calls on sockets that both real loops share. No state; any thread.
#pragma once

#include "base/backoff.h"
#include "base/result.h"
#include "dataplane/io/loop.h"
#include "dataplane/io/socket.h"

namespace istmo::io {

// A listening socket, non-blocking.
Result<Fd> open_listener(const Address& address, const ListenOptions& options);

// An unconnected stream socket, non-blocking, with options applied, or a negated errno value.
int open_stream_socket(int family, const SocketOptions& options);

// On a listener too: Linux lets accepted sockets inherit all of them, which saves several system
// calls per connection.
void apply_options(Fd fd, const SocketOptions& options);

// Makes the coming close() send RST and drop what is queued.
void set_abort_on_close(Fd fd);

// What has failed since the last time that somebody asked or was told: an errno value, or 0. A
// reset is ECONNRESET always (Linux says EPIPE after a FIN).
int take_error(Fd fd);
Result<Address> local_address_of(Fd fd);
Result<Address> remote_address_of(Fd fd);
// Loop::send_room().
uint64_t send_room_of(Fd fd, uint64_t unsent_max);

// What to do about a failed accept.
enum class AcceptFailure : uint8_t {
  retry,     // that one connection went away: go on
  back_off,  // a limit (EMFILE, ENFILE, memory) or the network: go on after a while
  fatal,     // the listener itself is wrong
};
AcceptFailure classify_accept_failure(int error_number);

// How long accepting rests after a limit was hit.
inline constexpr Backoff kAcceptBackoff{Duration::milliseconds(10), Duration::milliseconds(100)};

}  // namespace istmo::io
