#include "control/accepting_socket.h"

#include <utility>

#include "base/assert.h"
#include "base/log.h"

namespace istmo::control {

namespace {

constexpr Duration kPause = Duration::seconds(1);

}  // namespace

AcceptingSocket::AcceptingSocket(io::Loop& loop, AcceptSink& sink, io::Fd socket,
                                 const char* server)
    : loop_(loop), sink_(sink), server_(server), socket_(socket) {
  accept();
}

AcceptingSocket::~AcceptingSocket() { ASSERT(!is_open()); }

void AcceptingSocket::close() {
  is_closing_ = true;
  retry_.unlink();
  if (accept_op_.is_idle()) close_socket();
  else loop_.cancel(accept_op_);
}

void AcceptingSocket::close_socket() {
  if (is_open()) loop_.close(std::exchange(socket_, {}), io::Loop::Ending::orderly);
}

void AcceptingSocket::on_done(io::Completion&& done) {
  if (done.fd.is_open()) sink_.on_accepted(done.fd);
  if (!done.is_last) return;
  if (is_closing_) return close_socket();
  LOG_WARNING(std::string(server_) + ": accepting failed, trying again", "error", -done.result);
  loop_.timers().arm(retry_, loop_.now() + kPause);
}

}  // namespace istmo::control
