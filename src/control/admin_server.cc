#include "control/admin_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/log.h"

namespace istmo::control {

namespace {

bool is_answering(const AdminAddress& address) { return AdminClient::connect(address).has_value(); }

}  // namespace

// One connection of a command. Waits either for a request or for room to write.
class AdminServer::Client {
 public:
  Client(AdminServer& server, io::Fd socket) : server_(server), socket_(socket) { wait(POLLIN); }

  bool is_closed() const { return is_closing_ && op_.is_idle(); }
  bool has_asked(AdminRequestId id) const { return id.number == waiting_for_; }
  io::Fd socket() const { return socket_; }

  void answer(const AdminAnswer& answer) {
    waiting_for_ = 0;
    for (const Value& item : answer.items) {
      Value line = Value::map();
      line.set("item", item);
      output_ += write_line(line);
    }
    Value last = Value::map();
    if (answer.error.empty()) last.set("done", true);
    else last.set("error", answer.error);
    output_ += write_line(last);
    if (output_.size() > kAdminAnswerBytesMax) return close();
    if (!is_handing_over_) go_on();  // else go_on() is below us on the stack
  }

  void close() {
    is_closing_ = true;
    if (!op_.is_idle()) server_.loop_.cancel(op_);
    server_.loop_.defer(server_.sweep_);
  }

 private:
  void wait(uint32_t events) {
    if (!is_closing_ && op_.is_idle()) server_.loop_.poll(op_, socket_, events);
  }

  void on_ready(io::Completion&& done) {
    if (is_closing_ || done.failed()) return close();
    go_on();
  }

  // Writes what there is, hands over requests one after the other, and reads for more.
  void go_on() {
    while (!is_closing_) {
      if (!write_some()) return close();
      if (!output_.empty()) return wait(POLLOUT);
      if (is_last_answer_) return close();
      if (waiting_for_ != 0) return;  // answer() comes back here
      if (const size_t end = input_.find('\n'); end != std::string::npos) {
        hand_over_request(end);
      } else if (const Reading reading = read_some(); reading != Reading::some) {
        return reading == Reading::none ? wait(POLLIN) : close();
      }
    }
  }

  bool write_some() {
    while (!output_.empty()) {
      const ssize_t sent =
          ::send(socket_.number(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      output_.erase(0, static_cast<size_t>(sent));
    }
    return true;
  }

  enum class Reading : uint8_t { some, none, ended };
  Reading read_some() {
    if (input_.size() > kAdminRequestBytesMax) return Reading::ended;
    char buffer[4096];
    const ssize_t got = ::recv(socket_.number(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got == 0) return Reading::ended;
    if (got < 0) return errno == EAGAIN || errno == EINTR ? Reading::none : Reading::ended;
    input_.append(buffer, static_cast<size_t>(got));
    return Reading::some;
  }

  void hand_over_request(size_t end) {
    const auto request = read_line(std::string_view(input_).substr(0, end));
    input_.erase(0, end + 1);
    waiting_for_ = server_.next_request_++;
    is_handing_over_ = true;
    if (request) server_.sink_.on_admin_request({waiting_for_}, *request);
    else refuse(request.error());
    is_handing_over_ = false;
  }

  void refuse(const Error& error) {
    input_.clear();  // an HTTP request, it may be, with a body that is a request of ours
    is_last_answer_ = true;
    answer({.items = {}, .error = "not a request: " + error.text()});
  }

  AdminServer& server_;
  io::Fd socket_;
  io::OpOf<Client, &Client::on_ready> op_{*this};
  std::string input_;
  std::string output_;
  uint64_t waiting_for_ = 0;  // number of the request without an answer; 0: none
  bool is_handing_over_ = false;
  bool is_last_answer_ = false;
  bool is_closing_ = false;
};

AdminServer::AdminServer(io::Loop& loop, AdminSink& sink) : loop_(loop), sink_(sink) {}

AdminServer::~AdminServer() { ASSERT(is_idle()); }

Result<> AdminServer::listen(const AdminAddress& address) {
  const AdminSocketName name = TRY(socket_name(address));
  if (!address.is_for_this_machine()) {
    LOG_WARNING("whoever reaches the admin address commands this site", "address",
                address.to_string());
  }
  if (!address.path.empty()) {
    if (is_answering(address)) {
      return Error::config("another process answers at " + address.to_string());
    }
    ::unlink(address.path.c_str());
  }
  const int descriptor = TRY(open_socket(address, SOCK_NONBLOCK));
  const int on = 1;
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // The mask, not chmod afterwards: there is no moment at which others could connect.
  const mode_t mask = ::umask(0177);
  const int bound = ::bind(descriptor, name.raw(), name.size);
  const int bind_error = errno;
  ::umask(mask);
  if (bound != 0 || ::listen(descriptor, static_cast<int>(kAdminClientsMax)) != 0) {
    const int error_number = bound != 0 ? bind_error : errno;
    ::close(descriptor);
    return Error::from_errno(error_number, "admin socket " + address.to_string());
  }
  address_ = address;
  listener_ = io::Fd(descriptor);
  loop_.poll(accept_op_, listener_, POLLIN);
  return {};
}

void AdminServer::on_acceptable(io::Completion&& done) {
  if (is_stopping_) return loop_.close(std::exchange(listener_, {}), io::Loop::Ending::orderly);
  if (!done.failed()) accept_all();
  loop_.poll(accept_op_, listener_, POLLIN);
}

void AdminServer::accept_all() {
  while (true) {
    const int socket =
        ::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;
    if (clients_.size() >= kAdminClientsMax) {
      ::close(socket);
      LOG_WARNING("admin client refused", "clients", clients_.size());
      continue;
    }
    clients_.push_back(std::make_unique<Client>(*this, io::Fd(socket)));
  }
}

void AdminServer::answer(AdminRequestId id, const AdminAnswer& answer) {
  for (const auto& client : clients_) {
    if (client->has_asked(id)) return client->answer(answer);
  }
}

void AdminServer::remove_closed() {
  std::erase_if(clients_, [&](const auto& client) {
    if (!client->is_closed()) return false;
    loop_.close(client->socket(), io::Loop::Ending::orderly);
    return true;
  });
}

void AdminServer::stop() {
  if (listener_.is_open() && !is_stopping_) {
    loop_.cancel(accept_op_);
    if (!address_.path.empty()) ::unlink(address_.path.c_str());
  }
  is_stopping_ = true;
  for (const auto& client : clients_) client->close();
}

}  // namespace istmo::control
