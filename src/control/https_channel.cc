#include "control/https_channel.h"

#include <cerrno>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "dataplane/codec/http1_parser.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::control {

using codec::Http1Field;
using codec::Http1Head;
using codec::Http1Parser;

class HttpsChannel::State final : public transport::TransportSink, public codec::Http1Sink {
 public:
  State(io::Loop& loop, HttpsSink& sink, const HttpsLimits& limits)
      : loop_(loop), sink_(sink), limits_(limits) {}
  ~State() { ASSERT(is_closed()); }

  void ask(std::vector<HttpsPlace> places, const transport::TlsContext& tls, HttpsRequest request) {
    ASSERT(is_free());
    places_ = std::move(places);
    tls_ = &tls;
    request_ = std::move(request);
    is_asking_ = true;
    outcome_.reset();
    place_ = 0;
    errors_.clear();
    was_refused_ = false;
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
  static constexpr Duration kKeepalive = Duration::seconds(30);

  // kept: a connection without a request.
  enum class Phase : uint8_t { idle, connecting, handshaking, asking, kept, closing };
  struct Outcome {
    int status = 0;  // 0: there is no reply
    std::string body;
    HttpsFailure failure = HttpsFailure::unanswered;
    Error error = Error::closed("");
  };

  // --- the connection --------------------------------------------------------------------------

  void begin_again() {
    is_cancelled_ = false;
    connect();
  }

  void connect() {
    if (place_ == places_.size()) {
      deadline_.unlink();
      phase_ = Phase::idle;
      const auto error_class = was_refused_ ? ErrorClass::refused : ErrorClass::timeout;
      return finish({.failure = HttpsFailure::unsent, .error = Error(error_class, errors_)});
    }
    phase_ = Phase::connecting;
    is_late_ = false;
    const bool is_last = place_ + 1 == places_.size();
    arm(is_last ? limits_.last_connect_time : limits_.connect_time);
    loop_.connect(connect_op_, places_[place_].address, {.keepalive = kKeepalive});
  }

  void connect_elsewhere(const std::string& why) {
    errors_ += (errors_.empty() ? "" : "; ") + places_[place_].address.to_string() + ": " + why;
    ++place_;
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
      was_refused_ = was_refused_ || done.result == -ECONNREFUSED;
      return connect_elsewhere(Error::from_errno(-done.result, "connect").text());
    }
    phase_ = Phase::handshaking;
    const std::string& name = places_[place_].certificate_name;
    codec::TlsEngineOptions options;
    if (!name.empty()) options.expected_names = {name};
    if (!io::Address::is_numeric(name)) options.server_name = name;
    options.alpn = {"http/1.1"};
    transport_.emplace(loop_, done.fd, *tls_, *this, std::move(options));
    transport_->start();
  }

  void on_transport_open() override {
    if (phase_ == Phase::handshaking) send_request();
  }

  void send_request() {
    phase_ = Phase::asking;
    parser_.emplace(Http1Parser::Role::reply, *this);
    status_ = 0;
    is_kept_ = false;
    is_too_long_ = false;
    body_.clear();
    line_looked_at_ = 0;
    arm(limits_.reply_time);
    const HttpsPlace& place = places_[place_];
    Request request = request_.request;
    request.head.target = place.path + request.head.target;
    request.head.fields["host"] = (place.host.contains(':') ? "[" + place.host + "]" : place.host) +
                                  ":" + std::to_string(place.address.port());
    transport_->send(io::Chain::copy_of(write_request(request)));
  }

  // --- the reply -------------------------------------------------------------------------------

  void on_transport_data(io::Chain&& bytes) override {
    if (phase_ == Phase::kept) return close(Error::protocol("octets without a request"));
    if (phase_ != Phase::asking) return;
    const std::string text = bytes.to_string();
    std::string_view rest = text;
    if (is_in_lines()) arm(limits_.silence_time);
    while (!rest.empty() && phase_ == Phase::asking) {
      const auto used = parser_->feed(rest);
      if (!used) return fail(Error::protocol("the reply is malformed: " + used.error().text));
      rest.remove_prefix(*used);
    }
    if (phase_ == Phase::asking) deliver_lines();
  }

  bool is_in_lines() const { return request_.is_in_lines && status_ == 200; }

  void on_http_head(Http1Head&& head) override {
    status_ = head.status;
    const std::string* connection = head.find("connection");
    is_kept_ = limits_.kept_time > Duration{} && head.minor == 1 &&
               !(connection && *connection == "close");
    if (is_in_lines()) arm(limits_.silence_time);
  }

  void on_http_body(std::string_view octets) override {
    is_too_long_ = is_too_long_ || body_.size() + octets.size() > limits_.body_bytes_max;
    if (!is_too_long_) body_.append(octets);
  }

  void on_http_end(std::vector<Http1Field>&&) override {
    if (status_ < 200 || is_too_long_) return;  // interim; or deliver_lines() says so
    if (is_in_lines()) deliver_lines();
    if (phase_ != Phase::asking) return;  // a line was the last that the owner wanted
    Outcome outcome{.status = status_};
    if (!is_in_lines()) outcome.body = std::exchange(body_, {});
    if (!is_kept_) {  // told when it has closed
      outcome_ = std::move(outcome);
      return close(Error::closed("answered"));
    }
    phase_ = Phase::kept;
    arm(limits_.kept_time);
    finish(std::move(outcome));
  }

  // The lines that are whole. The owner may cancel at each.
  void deliver_lines() {
    if (is_too_long_) return fail_at(limits_.body_bytes_max, "the reply");
    if (!is_in_lines()) return;
    if (body_.find('\n', line_looked_at_) == std::string::npos) {
      line_looked_at_ = body_.size();
      if (body_.size() > limits_.line_bytes_max) {
        fail_at(limits_.line_bytes_max, "a line of the reply");
      }
      return;
    }
    line_looked_at_ = 0;
    const std::string lines = std::exchange(body_, {});
    size_t begin = 0;
    for (size_t end; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(lines).substr(begin, end - begin);
      if (line.empty()) continue;
      sink_.on_https_line(line);
      if (is_cancelled_ || phase_ != Phase::asking) return;
    }
    body_ = lines.substr(begin);
  }

  // --- ends ------------------------------------------------------------------------------------

  void on_transport_end() override {
    // A body without a length ends here.
    if (phase_ == Phase::asking && status_ != 0) static_cast<void>(parser_->end());
    if (phase_ == Phase::asking) fail(Error::reset("the reply was cut off"));
    else if (phase_ != Phase::closing) close(Error::reset("the server ended the connection"));
  }
  void on_transport_drained(uint64_t) override {}

  void fail_at(size_t bytes_max, const std::string& what) {
    fail(Error::limit(what + " is longer than " + std::to_string(bytes_max) + " octets"));
  }

  void fail(Error error) {
    outcome_ = {.error = std::move(error)};
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
    const ErrorClass error_class = error.error_class();
    deadline_.unlink();
    transport_.reset();
    parser_.reset();
    phase_ = Phase::idle;
    if (!is_asking_ || finish_.is_linked()) return;
    if (is_cancelled_) return begin_again();  // asked again since then
    if (outcome_) return finish(std::move(*outcome_));
    if (from == Phase::handshaking) return connect_elsewhere(why);
    if (from == Phase::kept) return connect();  // it ended just then: nothing was sent on it
    finish({.error = Error(error_class, why)});
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

  // The sink is told from the loop: ask() may be our caller.
  void finish(Outcome outcome) {
    outcome_ = std::move(outcome);
    loop_.defer(finish_);
  }
  void on_finished() {
    is_asking_ = false;
    Outcome outcome = std::move(*outcome_);
    outcome_.reset();
    if (outcome.status == 0) return sink_.on_https_failed(outcome.failure, outcome.error);
    sink_.on_https_reply(outcome.status, std::move(outcome.body));  // last: may end us
  }

  io::Loop& loop_;
  HttpsSink& sink_;
  const HttpsLimits limits_;
  Phase phase_ = Phase::idle;
  Phase closed_from_ = Phase::idle;
  bool is_asking_ = false;
  bool is_cancelled_ = false;
  bool is_late_ = false;
  bool was_refused_ = false;  // at a place nobody listens
  bool is_kept_ = false;
  bool is_too_long_ = false;
  std::vector<HttpsPlace> places_;
  const transport::TlsContext* tls_ = nullptr;
  HttpsRequest request_;
  size_t place_ = 0;    // the one that is tried
  std::string errors_;  // of those tried before
  int status_ = 0;
  std::string body_;
  size_t line_looked_at_ = 0;  // so many octets of body_ have no line end
  std::optional<Outcome> outcome_;
  std::optional<Http1Parser> parser_;
  std::optional<transport::TlsTransport> transport_;
  io::OpOf<State, &State::on_connected> connect_op_{*this};
  io::TimerOf<State, &State::on_deadline> deadline_{*this};
  io::DeferredOf<State, &State::on_finished> finish_{*this};
};

HttpsChannel::HttpsChannel(io::Loop& loop, HttpsSink& sink, const HttpsLimits& limits)
    : state_(std::make_unique<State>(loop, sink, limits)) {}
HttpsChannel::~HttpsChannel() = default;
void HttpsChannel::ask(std::vector<HttpsPlace> places, const transport::TlsContext& tls,
                       HttpsRequest request) {
  state_->ask(std::move(places), tls, std::move(request));
}
void HttpsChannel::cancel() { state_->cancel(); }
bool HttpsChannel::is_free() const { return state_->is_free(); }
bool HttpsChannel::is_closed() const { return state_->is_closed(); }

}  // namespace istmo::control
