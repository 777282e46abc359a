// What the site answers to commands: the second part of controller.h.
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "control/controller.h"
#include "control/document_text.h"
#include "control/service_view.h"

namespace istmo::control {

namespace {

std::string text_of(const Value& request, std::string_view key) {
  const Value* value = request.find(key);
  return value == nullptr ? std::string() : value->text();
}

uint64_t number_of(const Value& request, std::string_view key, uint64_t otherwise) {
  const std::string text = text_of(request, key);
  uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  return code == std::errc() && end == text.data() + text.size() ? number : otherwise;
}

// Of `host` and the list `hosts`.
std::vector<std::string> hosts_of(const Value& request) {
  std::vector<std::string> hosts;
  if (const std::string host = text_of(request, "host"); !host.empty()) hosts.push_back(host);
  if (const Value* list = request.find("hosts")) {
    for (const Value& host : list->items()) hosts.push_back(host.text());
  }
  return hosts;
}

AdminAnswer failed(const Error& error) { return {.items = {}, .error = error.text()}; }

Value connection_value(const proxy::ConnectionReport& connection) {
  Value value = Value::map();
  value.set("id", std::to_string(connection.id));
  value.set("listener", connection.listener);
  value.set("connector", connection.connector);
  value.set("routingKey", connection.routing_key);
  value.set("client", connection.client_address);
  value.set("server", connection.server_address);
  value.set("bytesIn", connection.bytes_in);
  value.set("bytesOut", connection.bytes_out);
  value.set("ageSeconds", connection.age.to_milliseconds() / 1000);
  return value;
}

Value worker_value(const proxy::WorkerReport& report) {
  Value value = Value::map();
  value.set("worker", report.worker);
  value.set("io", report.io);
  value.set("streamsOpen", report.streams_open);
  value.set("bufferedBytes", report.buffered_bytes);
  value.set("bytesIn", report.bytes_in);
  value.set("bytesOut", report.bytes_out);
  value.set("acceptLimitHits", report.accept_limit_hits);
  value.set("starvations", report.starvations);
  value.set("blocksLent", report.blocks_lent);
  value.set("blocksCopied", report.blocks_copied);
  value.set("turns", report.turns);
  Value& closed = value.set("closed", Value::map());
  for (int reason = 0; reason < proxy::kCloseReasons; ++reason) {
    closed.set(std::string(to_string(static_cast<proxy::CloseReason>(reason))),
               report.closed_total[reason]);
  }
  Value& listeners = value.set("listeners", Value::list());
  for (const proxy::ListenerReport& listener : report.listeners) {
    Value& item = listeners.add(Value::map());
    item.set("name", listener.name);
    item.set("isBound", listener.is_bound);
    item.set("connectionsOpen", listener.connections_open);
    item.set("connectionsTotal", listener.connections_total);
    item.set("refusedTotal", listener.refused_total);
    item.set("bytesIn", listener.bytes_in);
    item.set("bytesOut", listener.bytes_out);
  }
  Value& backends = value.set("backends", Value::list());
  for (const proxy::BackendReport& backend : report.backends) {
    Value& item = backends.add(Value::map());
    item.set("connector", backend.connector);
    item.set("address", backend.address);
    item.set("isSetAside", backend.is_set_aside);
    item.set("streamsOpen", backend.streams_open);
    item.set("streamsTotal", backend.streams_total);
    item.set("failuresTotal", backend.failures_total);
  }
  return value;
}

Value link_value(const LinkState& link) {
  Value value = Value::map();
  value.set("name", link.link);
  value.set("isIncoming", link.is_incoming);
  value.set("isConnected", link.is_up());
  value.set("siteId", link.site_id);
  value.set("siteName", link.site_name);
  value.set("remoteAddress", link.remote_address);
  value.set("connectionsOpen", link.connections_open);
  value.set("connectionsWanted", link.connections_wanted);
  value.set("cost", link.cost);
  value.set("error", link.error);
  return value;
}

}  // namespace

void Controller::on_admin_request(AdminRequestId id, const Value& request) {
  const std::string verb = text_of(request, "verb");
  if (phase_ == Phase::ended) return admin_.answer(id, failed(Error::closed("the site ends")));
  if (verb == "connections" || verb == "workers") {
    return ask_workers({id, {}}, verb, std::nullopt);
  }
  if (verb == "delete-connection") {
    return ask_workers({id, {}}, verb, number_of(request, "id", UINT64_MAX));
  }
  admin_.answer(id, answer_now(verb, request));
}

// What has to do with this process alone; all else stands in objects.
void Controller::on_command_request(const std::string& name, const Value& request) {
  const std::string verb = text_of(request, "verb");
  const std::string replica = text_of(request, "replica");
  const bool is_for_another = !replica.empty() && replica != replica_;
  if (!dataplane_ || phase_ == Phase::ended || is_for_another) return;
  if (verb == "connections") return ask_workers({{}, name}, verb, std::nullopt);
  if (verb == "delete-connection" && !replica.empty()) {
    return ask_workers({{}, name}, verb, number_of(request, "id", UINT64_MAX));
  }
  answer({{}, name}, failed(Error::protocol("there is no verb '" + verb + "' for a gateway")));
}

void Controller::answer(const Asker& asker, const AdminAnswer& answer) {
  if (asker.object.empty()) admin_.answer(asker.id, answer);
  else platform_->answer(asker.object, replica_, answer);
}

AdminAnswer Controller::answer_now(const std::string& verb, const Value& request) {
  if (verb == "ping") return {.items = {describe_site({})}, .error = {}};
  if (verb == "documents") return {.items = documents(request), .error = {}};
  if (verb == "site" || verb == "services" || verb == "links") {
    return {.items = std::move(overview()[verb]), .error = {}};
  }
  if (verb == "token") {
    const auto token = access_->make_token(text_of(request, "name"), hosts_of(request));
    if (!token) return failed(token.error());
    return {.items = {to_value(*token)}, .error = {}};
  }
  if (verb == "generate-link") {
    const auto made = access_->generate_link(text_of(request, "name"), hosts_of(request),
                                             static_cast<uint32_t>(number_of(request, "cost", 1)));
    if (!made) return failed(made.error());
    AdminAnswer answer;
    for (const Document& document : *made) answer.items.push_back(to_value(document));
    return answer;
  }
  if (verb == "forget-link") {
    const auto done = tokens_->forget_link(text_of(request, "name"));
    return done ? AdminAnswer{} : failed(done.error());
  }
  if (verb == "stop") {
    end_soon();
    return {};
  }
  return failed(Error::protocol("there is no verb '" + verb + "'"));
}

std::vector<Value> Controller::documents(const Value& request) const {
  const std::string kind = text_of(request, "kind");
  const std::string name = text_of(request, "name");
  std::vector<Value> items;
  for (const ObjectStatus& object : status_) {
    if (!kind.empty() && object.id.kind != kind) continue;
    if (!name.empty() && object.id.name != name) continue;
    Value& item = items.emplace_back(object.to_value());
    if (object.id.kind != "Site") continue;
    // Not Skupper's: where services of other sites are offered here.
    Value status = item.find("status") == nullptr ? Value::map() : *item.find("status");
    status.set("serviceHost", options_.service_host);
    item.set("status", std::move(status));
  }
  return items;
}

SitePlatform::Overview Controller::overview() const {
  SitePlatform::Overview overview;
  std::vector<Value>& services = overview["services"];
  if (compiled_.snapshot) services = services_view(desired_, observed_, compiled_);
  std::vector<Value>& links = overview["links"];
  std::vector<LinkState> now = links_.links();  // observed_ has them as of the last refresh
  add_links_of_siblings(now, observed_.siblings);
  for (const LinkState& link : now) links.push_back(link_value(link));
  overview["site"].push_back(describe_site(services));
  return overview;
}

Value Controller::describe_site(const std::vector<Value>& services) const {
  std::set<std::string> linked;
  for (const LinkState& link : observed_.links) {
    if (link.is_up()) linked.insert(link.site_id);
  }
  std::set<std::string> keys;
  for (const Value& service : services) keys.insert(text_at(service, "spec", "routingKey"));
  Value site = Value::map();
  site.set("name", observed_.site.name);
  site.set("id", observed_.site.id);
  site.set("namespace", options_.namespace_name);
  site.set("version", ISTMO_VERSION);
  site.set("pid", int64_t{::getpid()});
  site.set("serviceHost", options_.service_host);
  site.set("linkedSites", uint64_t{linked.size()});
  site.set("services", uint64_t{keys.size()});
  site.set("workers", options_.workers);
  site.set("io", options_.loop.kind == io::LoopKind::uring ? "uring" : "epoll");
  site.set("ioReason", options_.loop.reason);
  site.set("isReady", phase_ == Phase::ready);
  site.set("isEnding", phase_ == Phase::leaving || phase_ == Phase::draining);
  return site;
}

void Controller::ask_workers(Asker asker, const std::string& verb,
                             std::optional<uint64_t> connection_to_delete) {
  const uint64_t number = next_question_++;
  questions_[number] = {std::move(asker), verb, connection_to_delete};
  dataplane_->request_reports(number, verb != "workers");
}

void Controller::on_reports(uint64_t request, std::vector<proxy::WorkerReport> reports) {
  if (request == survey_.question) return end_survey(reports);
  const auto found = questions_.find(request);
  if (found == questions_.end()) return;
  const Question question = found->second;
  questions_.erase(found);
  AdminAnswer found_out;
  bool is_there = false;
  for (const proxy::WorkerReport& report : reports) {
    if (question.verb == "workers") found_out.items.push_back(worker_value(report));
    for (const proxy::ConnectionReport& connection : report.connections) {
      if (question.verb == "connections") found_out.items.push_back(connection_value(connection));
      is_there |= question.connection_to_delete == connection.id;
    }
  }
  if (is_there) dataplane_->delete_connection(*question.connection_to_delete);
  if (question.verb == "delete-connection" && !is_there) {
    found_out.error =
        "there is no such connection; `istmo connection list` shows those that are open";
  }
  answer(question.asker, found_out);
}

}  // namespace istmo::control
