#include "dataplane/proxy/link_acceptor.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "dataplane/proxy/link.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {
namespace {

constexpr std::string_view kPlacement = "istmo-";

// The connection index that the dialer asks for, if it does.
std::optional<uint32_t> placement_of(const codec::ClientHello& hello) {
  for (const auto& protocol : hello.alpn) {
    if (!protocol.starts_with(kPlacement)) continue;
    uint32_t index = 0;
    const char* end = protocol.data() + protocol.size();
    const auto parsed = std::from_chars(protocol.data() + kPlacement.size(), end, index);
    if (parsed.ec == std::errc{} && parsed.ptr == end) return index;
  }
  return std::nullopt;
}

}  // namespace

LinkAcceptor::LinkAcceptor(Worker& worker, const LinkAcceptorConfig& config)
    : worker_(worker), config_(config), sockets_(worker.loop(), *this) {}

LinkAcceptor::~LinkAcceptor() { ASSERT(can_be_freed()); }

void LinkAcceptor::update(const LinkAcceptorConfig& config) {
  is_retired_ = false;
  config_ = config;
  context_.reset();  // links that are open keep what they were opened with
}

void LinkAcceptor::open(std::vector<Problem>& problems) {
  std::vector<Error> errors;
  if (!context_) {
    auto context = worker_.make_tls_context(transport::TlsRole::server, config_.credentials);
    if (context) context_.emplace(std::move(*context));
    else errors.push_back(std::move(context).error().at("credentials"));
  }
  const io::SocketOptions options{.keepalive = Duration::seconds(10),
                                  .notsent_lowat_bytes = Worker::kLinkNotSentBytes};
  sockets_.update(context_ ? config_.addresses : std::vector<io::Address>{}, options, errors);
  for (const Error& error : errors) {
    problems.push_back({"RouterAccess", config_.name, error.text(), error.error_class()});
  }
}

void LinkAcceptor::retire() {
  is_retired_ = true;
  sockets_.close_all();
  arrivals_.for_each([this](Arrival& arrival) { drop(arrival); });
}

void LinkAcceptor::on_accepted(io::Fd fd) {
  const auto remote = worker_.loop().remote_address(fd);
  if (!remote) return worker_.loop().close(fd, io::Loop::Ending::abort);  // it was reset already
  make_room_for(remote->source());
  auto& arrival = arrivals_.emplace(*this, fd);
  waiting_.add(arrival, remote->source());
  worker_.loop().receive(arrival.receive_op, fd);
  worker_.loop().timers().arm(arrival.timer, worker_.loop().now() + kArrivalTimeout);
}

void LinkAcceptor::on_socket_closed() { worker_.schedule_sweep(); }

void LinkAcceptor::make_room_for(const std::string& source) {
  Newcomer* newcomer = waiting_.in_the_way_of(source);
  if (!newcomer) return;
  worker_.count_closed(CloseReason::connections_limit, 0, 0);
  worker_.log_refusal(newcomer->source, "too many connections wait and say nothing");
  drop(static_cast<Arrival&>(*newcomer));
}

void LinkAcceptor::drop(Arrival& arrival) {
  if (arrival.is_complete || arrival.is_ending) return;
  arrival.is_ending = true;
  arrival.unlink();
  worker_.loop().cancel(arrival.receive_op);
}

void LinkAcceptor::on_received(Arrival& arrival, io::Completion&& done) {
  arrival.received.append(std::move(done.bytes));
  if (done.is_last && (done.result == 0 || (done.failed() && !done.is_cancelled()))) {
    arrival.is_ending = true;  // ended or failed before it said anything useful
    arrival.unlink();
  }
  if (!arrival.is_complete && !arrival.is_ending) read_hello(arrival);
  if (!done.is_last) {
    if (arrival.is_complete || arrival.is_ending) worker_.loop().cancel(arrival.receive_op);
    return;
  }
  place(arrival);  // last: the arrival is gone
}

// What is not a ClientHello goes to TLS as it is, which answers with the right alert.
void LinkAcceptor::read_hello(Arrival& arrival) {
  const auto size = static_cast<uint32_t>(
      std::min<uint64_t>(arrival.received.size(), codec::kClientHelloBytesMax + 1));
  const auto hello = codec::parse_client_hello(arrival.received.make_contiguous(size));
  arrival.worker = worker_.index();
  if (hello && !*hello) return;  // more is needed
  arrival.is_complete = true;
  arrival.unlink();
  if (!hello) return;
  if (const auto index = placement_of(**hello)) arrival.worker = *index % worker_.worker_count();
}

void LinkAcceptor::place(Arrival& arrival) {
  const io::Fd fd = arrival.fd;
  const uint32_t target = arrival.worker;
  const bool is_dropped = arrival.is_ending || !arrival.is_complete;
  io::Chain received = std::move(arrival.received);
  arrivals_.erase(arrival);
  if (is_dropped) {
    worker_.loop().close(fd, io::Loop::Ending::orderly);
  } else if (target == worker_.index()) {
    start_link(fd, std::move(received));
  } else {
    worker_.loop().release(fd);
    worker_.sink().hand_over(target, config_.name, fd, received.to_string());
  }
  if (is_retired_) worker_.schedule_sweep();
}

void LinkAcceptor::start_link(io::Fd fd, io::Chain&& received) {
  if (is_retired_ || !context_ || !worker_.has_room_for_link()) {
    return worker_.loop().close(fd, io::Loop::Ending::abort);
  }
  const auto remote = worker_.loop().remote_address(fd);
  LinkOptions options{.name = config_.name,
                      .remote_address = remote ? remote->to_string() : "unknown"};
  options.mux = worker_.mux_options(codec::LinkRole::acceptor);
  options.received = std::move(received);
  options.is_sibling = config_.is_for_siblings;
  const std::string source = remote ? remote->source() : std::string();
  if (Newcomer* newcomer = worker_.newcomers().in_the_way_of(source)) {
    worker_.count_closed(CloseReason::connections_limit, 0, 0);
    static_cast<Link&>(*newcomer).close("amqp:resource-limit-exceeded",
                                        "too many connections wait and show no certificate");
  }
  Link& link = worker_.emplace_link(fd, *context_, std::move(options));
  worker_.newcomers().add(link, source);
  link.start();
}

}  // namespace istmo::proxy
