#include "control/health_server.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "dataplane/transport/tcp_transport.h"

namespace istmo::control {

Result<HealthAddress> HealthAddress::parse(const std::string& text) {
  if (!text.starts_with(':')) {
    const auto address = io::Address::parse(text);
    if (!address) {
      return Error::config("'" + text + "' is no ADDRESS:PORT (a numeric address, or none)");
    }
    return HealthAddress{.host = address->host(), .port = address->port()};
  }
  HealthAddress address;
  const char* end = text.data() + text.size();
  const auto [last, code] = std::from_chars(text.data() + 1, end, address.port);
  if (code != std::errc() || last != end) {
    return Error::config("'" + text.substr(1) + "' is not a port");
  }
  return address;
}

// One client: one request, one answer. Owned by the server's list, which it leaves when its
// transport has closed. States: reading -> asked -> answered -> closing, or closing from any.
class HealthServer::Connection final : public transport::TransportSink {
 public:
  Connection(HealthServer& server, io::Fd fd)
      : server_(server), transport_(server.loop_, fd, *this) {
    arm_deadline();
    transport_.start();
  }

  HealthRequestId id() const { return id_; }
  bool is_reading() const { return state_ == State::reading; }
  bool is_closing() const { return state_ == State::closing; }
  void close(io::Loop::Ending ending, std::string why) {
    if (state_ == State::closing) return;
    state_ = State::closing;
    deadline_.unlink();
    transport_.close(ending, Error::closed(std::move(why)));
  }
  void answer(const HealthAnswer& answer) {
    if (state_ != State::asked) return;
    send(answer);
  }

 private:
  enum class State : uint8_t { reading, asked, answered, closing };

  void on_transport_open() override {}
  void on_transport_drained(uint64_t) override {
    const bool is_done = state_ == State::answered && transport_.pending_bytes() == 0;
    if (is_done && has_ended_) close(io::Loop::Ending::orderly, "answered");
  }

  void on_transport_data(io::Chain&& bytes) override {
    if (state_ != State::reading) return;  // an answered client may still be sending
    auto read = reader_.feed(bytes.to_string());
    if (const auto* bad = std::get_if<BadRequest>(&read)) {
      return send({.status = bad->status, .text = bad->text + "\n"});
    }
    const auto* request = std::get_if<Request>(&read);
    if (!request) return;
    state_ = State::asked;
    is_head_ = request->head.method == "HEAD";
    id_ = {server_.next_request_++};
    const std::string_view target = request->head.target;
    server_.sink_.on_health_request(id_, target.substr(0, target.find('?')));
  }

  // Who has asked may end its direction and wait for the answer.
  void on_transport_end() override {
    has_ended_ = true;
    const bool is_waiting = state_ == State::asked || transport_.pending_bytes() > 0;
    if (!is_waiting) close(io::Loop::Ending::orderly, "the client has ended");
  }

  void on_transport_closed(const Error&) override {
    deadline_.unlink();
    server_.remove(*this);  // ends this object
  }

  void arm_deadline() {
    server_.loop_.timers().arm(deadline_, server_.loop_.now() + server_.options_.deadline);
  }

  void send(const HealthAnswer& answer) {
    state_ = State::answered;
    std::string reply = write_reply(answer.status, answer.content_type, answer.text, "GET, HEAD");
    if (is_head_) reply.resize(reply.size() - answer.text.size());
    transport_.send(io::Chain::copy_of(reply));
    transport_.shutdown_send();
    // The client closes. Closing first could reset the connection under the reply, when octets
    // that were not read are left.
    arm_deadline();
  }

  void on_deadline() {
    switch (state_) {
      case State::reading: return close(io::Loop::Ending::abort, "no request came in time");
      case State::asked:
        return send({.status = 503, .text = "the workers have not answered in time\n"});
      case State::answered: return close(io::Loop::Ending::orderly, "answered");
      case State::closing: return;
    }
  }

  HealthServer& server_;
  State state_ = State::reading;
  bool is_head_ = false;
  bool has_ended_ = false;  // the client, its direction
  HealthRequestId id_;
  RequestReader reader_{RequestKind::page};
  transport::TcpTransport transport_;
  io::TimerOf<Connection, &Connection::on_deadline> deadline_{*this};
};

HealthServer::HealthServer(io::Loop& loop, HealthSink& sink, HealthServerOptions options)
    : loop_(loop), sink_(sink), options_(options) {}

HealthServer::~HealthServer() { ASSERT(is_idle()); }

Result<> HealthServer::open(const HealthAddress& address) {
  ASSERT(!socket_);
  const auto listen = [&](const std::string& host) -> Result<io::Fd> {
    const auto parsed = TRY(io::Address::parse(host, address.port));
    return loop_.listen(parsed, {.backlog = 128, .reuse_port = false, .ipv6_only = false});
  };
  const bool is_everywhere = address.host.empty();
  auto fd = listen(is_everywhere ? "::" : address.host);
  if (!fd && is_everywhere) fd = listen("0.0.0.0");  // a kernel without IPv6
  if (!fd) return std::move(fd).error().at("health server");
  const auto local = loop_.local_address(*fd);
  port_ = local ? local->port() : address.port;
  LOG_INFO("health server listens", "address", local ? local->to_string() : address.host);
  AcceptSink& sink = *this;
  socket_.emplace(loop_, sink, *fd, "health server");
  return {};
}

void HealthServer::on_accepted(io::Fd client) {
  if (is_closing_ || !make_room()) loop_.close(client, io::Loop::Ending::abort);
  else connections_.emplace_back(*this, client);
}

// At the bound the oldest client goes that has not said what it wants, else the oldest one. False:
// those that go are too many already.
bool HealthServer::make_room() {
  const auto open = std::ranges::count_if(
      connections_, [](const Connection& connection) { return !connection.is_closing(); });
  if (static_cast<uint32_t>(open) < options_.connections_max) return true;
  if (connections_.size() >= size_t{2} * options_.connections_max) return false;
  auto victim = std::ranges::find_if(connections_, &Connection::is_reading);
  if (victim == connections_.end()) {
    victim = std::ranges::find_if_not(connections_, &Connection::is_closing);
  }
  victim->close(io::Loop::Ending::abort, "another client needs the place");
  return true;
}

void HealthServer::answer(HealthRequestId id, const HealthAnswer& answer) {
  const auto found = std::ranges::find(connections_, id, &Connection::id);
  if (found != connections_.end()) found->answer(answer);
}

void HealthServer::remove(Connection& connection) {
  connections_.remove_if([&](const Connection& other) { return &other == &connection; });
}

void HealthServer::close() {
  is_closing_ = true;
  if (socket_) socket_->close();
  for (Connection& connection : connections_) {
    connection.close(io::Loop::Ending::abort, "the site stops");
  }
}

}  // namespace istmo::control
