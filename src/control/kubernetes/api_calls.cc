#include "control/kubernetes/api_calls.h"

#include <algorithm>

#include "control/json.h"
#include "control/kubernetes/api_json.h"

namespace istmo::control {
namespace {

constexpr int kUnauthorized = 401;

}  // namespace

std::string ApiReply::message() const {
  if (status == 0) return error;
  const Value* text = body.find("message");
  return "the API server answered " + std::to_string(status) + (text ? ": " + text->text() : "");
}

class ApiCalls::Channel final : private HttpsSink {
 public:
  explicit Channel(ApiCalls& calls) : calls_(calls), channel_(calls.loop_, *this) {}

  bool is_free() const { return !done_; }
  bool is_closed() const { return channel_.is_closed(); }
  void cancel() {
    failed_.unlink();
    channel_.cancel();
  }

  // What cannot even be asked is answered like what was not.
  void ask(Call call) {
    done_ = std::move(call.done);
    ApiServer& server = calls_.server_;
    const ApiRequest& wanted = call.request;
    auto request = server.request(wanted.method, wanted.target, calls_.loop_.now());
    if (!request) {
      error_ = request.error().text();
      return calls_.loop_.defer(failed_);
    }
    if (!wanted.body.is_null()) {
      request->head.fields["content-type"] = wanted.content_type;
      request->body = write_json(wanted.body, JsonStyle::compact);
    }
    channel_.ask(server.places(), server.tls(),
                 {.request = std::move(*request), .is_in_lines = false});
  }

 private:
  void on_https_line(std::string_view) override {}
  void on_https_reply(int status, std::string body) override {
    if (status == kUnauthorized) calls_.server_.forget_authorization();
    ApiReply reply{.status = status, .body = {}, .plain = {}, .error = {}};
    if (auto value = read_api_json(body)) reply.body = std::move(*value);
    else reply.plain = std::move(body);
    answer(std::move(reply));
  }
  void on_https_failed(HttpsFailure, const Error& error) override {
    error_ = "API server " + calls_.server_.access().server() + ": " +
             (error.text().empty() ? "its host is not known" : error.text());
    on_failed();
  }
  void on_failed() {
    answer({.status = 0, .body = {}, .plain = {}, .error = std::exchange(error_, {})});
  }
  // The one who asked may ask again.
  void answer(ApiReply reply) {
    Done done = std::exchange(done_, {});
    calls_.loop_.defer(calls_.go_on_);
    done(std::move(reply));
  }

  ApiCalls& calls_;
  HttpsChannel channel_;
  Done done_;
  std::string error_;
  io::DeferredOf<Channel, &Channel::on_failed> failed_{*this};
};

ApiCalls::ApiCalls(io::Loop& loop, ApiServer& server, size_t channels)
    : loop_(loop), server_(server) {
  for (size_t i = 0; i < channels; ++i) channels_.push_back(std::make_unique<Channel>(*this));
}

ApiCalls::~ApiCalls() = default;

void ApiCalls::call(ApiRequest request, Done done) {
  waiting_.push_back({std::move(request), std::move(done)});
  loop_.defer(go_on_);
}

void ApiCalls::go_on() {
  for (const auto& channel : channels_) {
    if (waiting_.empty()) return;
    if (!channel->is_free()) continue;
    Call call = std::move(waiting_.front());
    waiting_.pop_front();
    channel->ask(std::move(call));
  }
}

void ApiCalls::stop() {
  waiting_.clear();
  go_on_.unlink();
  for (const auto& channel : channels_) channel->cancel();
}

bool ApiCalls::is_waiting() const {
  return !waiting_.empty() ||
         std::ranges::any_of(channels_, [](const auto& channel) { return !channel->is_free(); });
}

bool ApiCalls::is_idle() const {
  return std::ranges::all_of(channels_, [](const auto& channel) { return channel->is_closed(); });
}

}  // namespace istmo::control
