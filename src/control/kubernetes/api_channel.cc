#include "control/kubernetes/api_channel.h"

#include <optional>
#include <utility>

#include "base/assert.h"
#include "dataplane/codec/http1_parser.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::control {
namespace {

using codec::Http1Field;
using codec::Http1Head;
using codec::Http1Parser;

std::string text_of(const ApiRequest& request, const ApiServer& server,
                    const std::string& authorization) {
  std::string text = request.method + " " + server.access().path + request.target +
                     " HTTP/1.1\r\nHost: " + server.host_header() +
                     "\r\nUser-Agent: istmo\r\nAccept: application/json\r\n";
  if (!authorization.empty()) text += "Authorization: " + authorization + "\r\n";
  if (!request.content_type.empty()) {
    text += "Content-Type: " + request.content_type +
            "\r\nContent-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return text + "\r\n" + request.body;
}

}  // namespace

class ApiChannel::State final : public transport::TransportSink, public codec::Http1Sink {
 public:
  State(io::Loop& loop, ApiServer& server, ApiChannelSink& sink)
      : loop_(loop), server_(server), sink_(sink) {}
  ~State() { ASSERT(is_closed()); }

  void ask(ApiRequest request) {
    ASSERT(is_free());
    request_ = std::move(request);
    is_asking_ = true;
    result_.reset();
    address_ = 0;
    errors_.clear();
    if (phase_ == Phase::kept) return send_request();
    if (phase_ == Phase::idle) begin_again();
    // else what was cancelled, or not needed any more, ends first
  }

  void cancel() {
    is_cancelled_ = true;
    is_asking_ = false;
    deadline_.unlink();
    finish_.unlink();
    if (phase_ == Phase::connecting) loop_.cancel(connect_op_);
    else if (transport_) close(Error::closed("cancelled"));
    else phase_ = Phase::idle;
  }

  bool is_free() const { return !is_asking_; }
  bool is_closed() const { return phase_ == Phase::idle && !is_asking_; }

 private:
  // kept: a connection without a request.
  enum class Phase : uint8_t { idle, connecting, handshaking, asking, kept, closing };
  struct Outcome {
    int status = 0;  // 0: `error` says why there is no reply
    std::string body;
    Error error = Error::closed("");
  };

  void connect() {
    const auto& addresses = server_.addresses();
    if (address_ == addresses.size()) {
      return finish_without_reply(Error::refused(
          addresses.empty() ? "host " + server_.access().host + " is not known" : errors_));
    }
    phase_ = Phase::connecting;
    is_late_ = false;
    arm(kConnectTime);
    loop_.connect(connect_op_, addresses[address_], {.keepalive = Duration::seconds(30)});
  }

  void connect_elsewhere(const std::string& why) {
    errors_ +=
        (errors_.empty() ? "" : "; ") + server_.addresses()[address_].to_string() + ": " + why;
    ++address_;
    connect();
  }

  void on_connected(io::Completion&& done) {
    if (is_cancelled_ || is_late_) {
      if (done.fd.is_open()) loop_.close(done.fd, io::Loop::Ending::abort);
      if (!is_asking_) phase_ = Phase::idle;
      else if (is_cancelled_) begin_again();
      else connect_elsewhere("no answer in time");
      return;
    }
    if (done.failed()) {
      return connect_elsewhere(Error::from_errno(-done.result, "connect").text());
    }
    phase_ = Phase::handshaking;
    transport_.emplace(loop_, done.fd, server_.tls(), *this, server_.tls_options());
    transport_->start();
  }

  void begin_again() {
    is_cancelled_ = false;
    connect();
  }

  void on_transport_open() override {
    if (phase_ == Phase::handshaking) send_request();
  }

  void send_request() {
    const auto authorization = server_.authorization(loop_.now());
    if (!authorization) {
      result_ = {.error = authorization.error()};
      return close(Error::closed("no authorization"));
    }
    phase_ = Phase::asking;
    parser_.emplace(Http1Parser::Role::reply, *this);
    status_ = 0;
    is_kept_ = false;
    body_.clear();
    arm(kReplyTime);
    transport_->send(io::Chain::copy_of(text_of(request_, server_, *authorization)));
  }

  void on_transport_data(io::Chain&& bytes) override {
    if (phase_ != Phase::asking) {
      if (phase_ == Phase::kept) close(Error::protocol("octets without a request"));
      return;
    }
    const std::string text = bytes.to_string();
    std::string_view rest = text;
    if (is_in_lines()) arm(kWatchSilence);
    while (!rest.empty() && phase_ == Phase::asking) {
      const auto used = parser_->feed(rest);
      if (!used) return fail(Error::protocol("the reply is malformed: " + used.error().text));
      rest.remove_prefix(*used);
    }
    if (phase_ == Phase::asking) deliver_lines();
  }

  // --- the reply -----------------------------------------------------------------------------

  bool is_in_lines() const { return request_.is_watch && status_ == 200; }

  void on_http_head(Http1Head&& head) override {
    status_ = head.status;
    const std::string* connection = head.find("connection");
    is_kept_ = head.minor == 1 && !(connection && *connection == "close");
    if (is_in_lines()) arm(kWatchSilence);
  }

  void on_http_body(std::string_view octets) override {
    body_.append(octets);
    if (body_.size() > kBodyBytesMax) is_too_long_ = true;
  }

  void on_http_end(std::vector<Http1Field>&&) override {
    if (status_ < 200) return;  // interim
    if (is_too_long_) return;   // deliver_lines() says so
    if (is_in_lines()) deliver_lines();
    if (phase_ != Phase::asking) return;  // a line was the last that the owner wanted
    if (status_ == 401) server_.forget_authorization();
    result_ = {.status = status_, .body = is_in_lines() ? "" : std::move(body_)};
    body_.clear();
    if (!is_kept_) return close(Error::closed("answered"));
    phase_ = Phase::kept;
    arm(kKeptTime);
    loop_.defer(finish_);
  }

  // The lines that are whole. The owner may cancel at each.
  void deliver_lines() {
    if (is_too_long_) return fail(Error::limit("the reply is longer than 32 MiB"));
    if (!is_in_lines()) return;
    const std::string lines = std::exchange(body_, {});
    size_t begin = 0;
    for (size_t end; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(lines).substr(begin, end - begin);
      if (line.empty()) continue;
      sink_.on_api_line(line);
      if (is_cancelled_ || phase_ != Phase::asking) return;
    }
    body_ = lines.substr(begin);
    if (body_.size() > kLineBytesMax) fail(Error::limit("a line of a watch is longer than 4 MiB"));
  }

  // --- ends ----------------------------------------------------------------------------------

  void on_transport_end() override {
    // A body without a length ends here.
    if (phase_ == Phase::asking && status_ != 0) static_cast<void>(parser_->end());
    if (phase_ != Phase::closing) close(Error::reset("the server ended the connection"));
  }
  void on_transport_drained(uint64_t) override {}

  void fail(Error error) {
    result_ = {.error = std::move(error)};
    close(Error::closed("failed"));
  }

  void close(Error why) {
    if (phase_ == Phase::closing) return;
    closed_from_ = phase_;
    phase_ = Phase::closing;
    deadline_.unlink();
    transport_->close(io::Loop::Ending::orderly, std::move(why));
  }

  void on_transport_closed(const Error& error) override {
    const Phase from = phase_ == Phase::closing ? closed_from_ : phase_;
    const std::string why = error.text();
    deadline_.unlink();
    transport_.reset();
    parser_.reset();
    phase_ = Phase::idle;
    if (!is_asking_) return;
    if (is_cancelled_) return begin_again();  // asked again since then
    if (result_) {
      if (!finish_.is_linked()) loop_.defer(finish_);
      return;
    }
    if (from == Phase::handshaking) return connect_elsewhere(why);
    // A connection that was kept, and ended just then: nothing was sent on it.
    if (from == Phase::kept) return connect();
    finish_without_reply(
        Error(error.error_class(), "API server " + server_.access().server() + ": " + why));
  }

  void on_deadline() {
    switch (phase_) {
      case Phase::connecting: is_late_ = true; return loop_.cancel(connect_op_);
      case Phase::handshaking: return close(Error::timeout("no answer in time"));
      case Phase::asking: return fail(Error::timeout("no answer in time"));
      case Phase::kept: return close(Error::closed("not needed"));
      case Phase::idle:
      case Phase::closing: return;
    }
  }

  void arm(Duration time) { loop_.timers().arm(deadline_, loop_.now() + time); }

  void finish_without_reply(Error error) {
    phase_ = Phase::idle;
    deadline_.unlink();
    result_ = {.error = std::move(error)};
    loop_.defer(finish_);
  }

  // From the loop: ask() may be our caller.
  void on_finished() {
    is_asking_ = false;
    is_too_long_ = false;
    const Outcome outcome = std::move(*result_);
    result_.reset();
    if (outcome.status == 0) return sink_.on_api_failed(outcome.error);
    sink_.on_api_reply(outcome.status, outcome.body);  // last: may ask again or end us
  }

  io::Loop& loop_;
  ApiServer& server_;
  ApiChannelSink& sink_;
  Phase phase_ = Phase::idle;
  Phase closed_from_ = Phase::idle;
  bool is_asking_ = false;
  bool is_cancelled_ = false;
  bool is_late_ = false;
  bool is_kept_ = false;
  bool is_too_long_ = false;
  ApiRequest request_;
  size_t address_ = 0;  // the one that is tried
  std::string errors_;  // of those tried before
  int status_ = 0;
  std::string body_;
  std::optional<Outcome> result_;
  std::optional<Http1Parser> parser_;
  std::optional<transport::TlsTransport> transport_;
  io::OpOf<State, &State::on_connected> connect_op_{*this};
  io::TimerOf<State, &State::on_deadline> deadline_{*this};
  io::DeferredOf<State, &State::on_finished> finish_{*this};
};

ApiChannel::ApiChannel(io::Loop& loop, ApiServer& server, ApiChannelSink& sink)
    : state_(std::make_unique<State>(loop, server, sink)) {}
ApiChannel::~ApiChannel() = default;
void ApiChannel::ask(ApiRequest request) { state_->ask(std::move(request)); }
void ApiChannel::cancel() { state_->cancel(); }
bool ApiChannel::is_free() const { return state_->is_free(); }
bool ApiChannel::is_closed() const { return state_->is_closed(); }

}  // namespace istmo::control
