#include "dataplane/proxy/listening_socket.h"

#include <algorithm>

#include "base/log.h"

namespace istmo::proxy {

void ListeningSockets::update(const std::vector<io::Address>& addresses,
                              const io::SocketOptions& options, std::vector<Error>& errors) {
  for (auto& socket : sockets_) {
    if (socket->is_closing || std::ranges::count(addresses, socket->address) > 0) continue;
    socket->is_closing = true;
    loop_.cancel(socket->accept_op);
  }
  for (const auto& address : addresses) {
    const auto has_address = [&](const auto& socket) {
      return !socket->is_closing && socket->address == address;
    };
    if (const auto kept = std::ranges::find_if(sockets_, has_address); kept != sockets_.end()) {
      set_options(**kept, options);
      continue;
    }
    auto fd = loop_.listen(address, {});
    if (!fd) {
      errors.push_back(std::move(fd).error());
      continue;
    }
    sockets_.push_back(std::make_unique<Socket>(*this, address, *fd, options));
    loop_.accept(sockets_.back()->accept_op, *fd, options);
  }
}

void ListeningSockets::set_options(Socket& socket, const io::SocketOptions& options) {
  if (socket.options == options) return;
  socket.options = options;
  loop_.set_accept_options(socket.accept_op, options);
}

void ListeningSockets::close_all() {
  std::vector<Error> errors;
  update({}, {}, errors);
}

bool ListeningSockets::is_bound() const {
  return std::ranges::any_of(sockets_, [](const auto& socket) { return !socket->is_closing; });
}

void ListeningSockets::on_accepted(Socket& socket, io::Completion&& done) {
  if (!done.failed()) {
    if (socket.is_closing) loop_.close(done.fd, io::Loop::Ending::abort);
    else sink_.on_accepted(done.fd);
  }
  if (!done.is_last) return;
  if (!socket.is_closing) {  // the kernel ended the multishot for good: name it and stop
    LOG_ERROR("accept ended", "address", socket.address.to_string(), "errno", -done.result);
  }
  loop_.close(socket.fd, io::Loop::Ending::orderly);
  std::erase_if(sockets_, [&](const auto& other) { return other.get() == &socket; });
  sink_.on_socket_closed();  // last: may end the owner
}

}  // namespace istmo::proxy
