#include "control/site_access.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/log.h"
#include "control/compile.h"
#include "control/ingress_hosts.h"
#include "control/settings.h"

namespace istmo::control {

namespace {

constexpr std::chrono::minutes kDefaultWindow{15};
// So late one process of a site may hear of a document that another one has acted on.
constexpr std::chrono::minutes kDocumentLag{1};

// Nobody listens there. SO_REUSEADDR: connections that ended lately do not count.
bool is_port_free(int family, uint16_t port) {
  const int probe = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return true;  // no such family here
  const int on = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) ::setsockopt(probe, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  const auto any = io::Address::parse(family == AF_INET6 ? "::" : "0.0.0.0", port);
  const bool is_free = ::bind(probe, any->raw(), any->raw_size()) == 0 || errno == EADDRNOTAVAIL;
  ::close(probe);
  return is_free;
}

bool is_free_everywhere(uint16_t port) {
  return is_port_free(AF_INET, port) && is_port_free(AF_INET6, port);
}

bool has_ipv6() {
  const int probe = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const auto any = io::Address::parse("::", 0);
  const bool has = ::bind(probe, any->raw(), any->raw_size()) == 0;
  ::close(probe);
  return has;
}

std::string waiting_for_port(const std::string& holders) {
  return "; " + holders +
         " that were given out name this port, so the site waits for it: end what listens there "
         "(`ss -ltnp` shows it)";
}

}  // namespace

uint16_t first_free_port(uint16_t first) {
  for (uint32_t port = first; port <= 65535; ++port) {
    if (is_free_everywhere(static_cast<uint16_t>(port))) return static_cast<uint16_t>(port);
  }
  return first;  // binding it will say what is wrong
}

void SiteAccess::find_ingress(const Desired& desired, const Observed& observed) {
  ingress_.clear();
  const auto add = [&](const IngressAddress& address) {
    if (find_ingress(address.host) == nullptr) ingress_.push_back(address);
  };
  const bool has_service = observed.cluster && !observed.cluster->ingress.empty();
  if (has_service) std::ranges::for_each(observed.cluster->ingress, add);
  std::vector<std::string> hosts;
  // In a cluster they are among those, with the ports by which they lead here, or are a domain.
  const bool has_setting = !has_service && desired.site() != nullptr;
  if (has_setting) hosts = ingress_hosts_setting(desired.site()->settings);
  add_missing_hosts(hosts, state_.ingress_hosts());
  if (!has_service) add_missing_hosts(hosts, options_.ingress_hosts);
  for (const std::string& host : hosts) add({.host = host});
}

std::vector<std::string> SiteAccess::ingress_hosts(IngressUse use) const {
  std::vector<std::string> hosts;
  for (const IngressAddress& address : ingress_) {
    if (address.leads_to(use)) hosts.push_back(address.host);
  }
  return hosts;
}

const IngressAddress* SiteAccess::find_ingress(const std::string& host) const {
  const auto found = std::ranges::find(ingress_, host, &IngressAddress::host);
  return found == ingress_.end() ? nullptr : &*found;
}

uint16_t SiteAccess::link_port_at(const std::string& host, uint16_t own_port) const {
  const IngressAddress* address = find_ingress(host);
  return address == nullptr || address->link_port == 0 ? own_port : address->link_port;
}

std::vector<LinkAddress> SiteAccess::grant_places(const std::vector<std::string>& hosts) const {
  std::vector<LinkAddress> places;
  for (const std::string& host : hosts) {
    const IngressAddress* address = find_ingress(host);
    const bool is_own = address == nullptr || address->grant_port == 0;
    places.push_back({host, is_own ? grant_server_->port() : address->grant_port});
  }
  return places;
}

Result<> SiteAccess::remember_hosts(std::vector<std::string> hosts,
                                    const std::vector<std::string>& known) {
  std::erase_if(hosts, [&](const std::string& host) {
    return std::ranges::find(known, host) != known.end();
  });
  if (hosts.empty()) return {};
  TRY(state_.add_ingress_hosts(hosts));
  for (const std::string& host : hosts) ingress_.push_back({.host = host});
  sink_.on_access_changed();
  return {};
}

SiteAccess::SiteAccess(io::Loop& loop, SiteState& state, SiteAccessSink& sink,
                       SiteAccessOptions options)
    : loop_(loop),
      state_(state),
      sink_(sink),
      options_(std::move(options)),
      next_port_(kLinkPort) {}

void SiteAccess::update(const Desired& desired, Observed& observed) {
  has_failed_ = false;
  now_ = options_.clock();
  find_ingress(desired, observed);
  update_ledger(desired, observed);
  observed.is_link_access_asked = has_redeemable_grant() || state_.issued_until(now_).has_value();
  update_accesses(desired, observed);
  update_grant_server(observed);
  find_next_end();
  std::erase_if(closing_, [](const auto& server) { return server->is_idle(); });
}

bool SiteAccess::has_redeemable_grant() const {
  return std::ranges::any_of(state_.grants(),
                             [&](const auto& entry) { return is_redeemable(entry.second); });
}

void SiteAccess::find_next_end() {
  next_end_ = state_.issued_until(now_);
  for (const auto& [uid, grant] : state_.grants()) {
    if (!is_redeemable(grant)) continue;
    next_end_ = next_end_ ? std::min(*next_end_, grant.expires) : grant.expires;
  }
}

uint16_t SiteAccess::port_for(const RouterAccessDocument& access, const RouterAccessRole& role) {
  if (role.port != 0) return role.port;
  const auto chosen = ports_.find(access.name());
  if (chosen != ports_.end()) return chosen->second;
  const std::string purpose = "link/" + access.name();
  uint16_t port = state_.port(purpose).value_or(0);
  const bool was_refused = port >= kLinkPort && port < next_port_;
  const bool may_move = !is_link_port_given() && (was_refused || !is_free_everywhere(port));
  if (port == 0 || may_move) port = first_free_port(next_port_);
  if (const auto saved = state_.set_port(purpose, port); !saved) {
    LOG_WARNING("port not remembered", "purpose", purpose, "error", saved.error().text());
  }
  ports_[access.name()] = port;
  return port;
}

void SiteAccess::update_accesses(const Desired& desired, Observed& observed) {
  observed.access_ports.clear();
  observed.endpoints.clear();
  const auto credentials_before = std::exchange(observed.credentials, {});
  link_addresses_.clear();
  const auto accesses = router_accesses(desired, observed);
  std::erase_if(ports_, [&](const auto& entry) { return !accesses.contains(entry.first); });
  for (const auto& [name, access] : accesses) {
    const auto role =
        std::ranges::find(access.roles, std::string("inter-router"), &RouterAccessRole::name);
    if (role == access.roles.end()) continue;
    const uint16_t port = port_for(access, *role);
    observed.access_ports[name] = port;
    const auto hosts =
        hosts_of_access(access, ingress_hosts(IngressUse::links), default_ingress_hosts());
    for (const std::string& host : hosts) {
      const uint16_t port_there = link_port_at(host, port);
      observed.endpoints.push_back({"inter-router", host, port_there, name});
      link_addresses_.push_back({host, port_there});
    }
    if (!makes_credentials(access, desired)) continue;
    auto credentials = state_.server_credentials(access.tls_credentials, hosts, now_);
    if (credentials) {
      observed.credentials[access.tls_credentials] = std::move(*credentials);
      continue;
    }
    has_failed_ = true;
    LOG_ERROR("no certificate for links", "access", name, "error", credentials.error().text());
    // The one in use goes on: without it the port would close.
    const auto used = credentials_before.find(access.tls_credentials);
    if (used != credentials_before.end()) observed.credentials.insert(*used);
  }
}

// A document that was read and is not there any more was deleted. One that was never read may be
// what could not be read: its count must outlive that.
void SiteAccess::remove_grants_without_document(const Desired& desired, const Observed& observed) {
  for (const auto& [name, document] : desired.grants) grants_seen_.insert(name);
  if (!observed.acts_for_site) return;  // another process may have read more than this one
  std::vector<std::string> gone;
  for (const auto& [uid, grant] : state_.grants()) {
    if (desired.grants.contains(grant.name)) continue;
    const ObjectId id{std::string(AccessGrantDocument::kKind), grant.name};
    const bool is_deleted = grants_seen_.contains(grant.name) || !observed.unread.may_hold(id);
    const bool may_come = state_.is_shared() && !grant.is_wanted && grant.created &&
                          now_ < *grant.created + kDocumentLag;
    if (is_deleted && !may_come) gone.push_back(grant.name);
  }
  for (const std::string& name : gone) {
    if (const auto removed = state_.remove_grant(name); !removed) {
      has_failed_ = true;
      LOG_WARNING("grant not removed", "grant", name, "error", removed.error().text());
    }
  }
}

void SiteAccess::update_ledger(const Desired& desired, Observed& observed) {
  remove_grants_without_document(desired, observed);
  observed.grants.clear();
  for (const auto& [name, document] : desired.grants) {
    std::chrono::seconds window = kDefaultWindow;
    if (document.expiration_window) {
      // Whole seconds, and never none.
      window = std::chrono::seconds((document.expiration_window->to_milliseconds() + 999) / 1000);
    }
    const bool is_known = state_.find_grant_by_name(name) != nullptr;
    const SiteState::GrantRequest request{.name = name,
                                          .code = document.code,
                                          .redemptions_allowed = document.redemptions_allowed,
                                          .expiration_window = window};
    // What an edit changes is for one process to write: another may have an older document.
    const auto grant = is_known && !observed.acts_for_site ? Result<Grant>(state_.want_grant(name))
                                                           : state_.put_grant(request, now_);
    GrantState& state = observed.grants[name];
    if (grant && !is_known) grants_untold_.insert(grant->uid);
    if (grant && !state_.is_stored(*grant)) continue;  // nobody is told what may be lost
    if (grant) {
      state.redemptions = grant->redemptions();
      state.expiration_time = to_rfc3339(grant->expires);
      state.ended = grant->why_closed(now_);
      continue;
    }
    state.error = grant.error().text();
    has_failed_ = true;
  }
}

void SiteAccess::update_grant_server(Observed& observed) {
  if (!has_redeemable_grant()) return close_grant_server();
  const Result<> opened = open_grant_server();
  if (!opened) {
    has_failed_ = true;
    if (grant_error_ != opened.error().text()) LOG_ERROR(opened.error().text());
  }
  grant_error_ = opened ? std::string() : opened.error().text();
  if (grant_server_) grant_server_->set_link_addresses(link_addresses_);
  for (auto& [name, state] : observed.grants) {
    if (!state.error.empty() || !state.ended.empty() || state.expiration_time.empty()) continue;
    if (!opened) {
      state.error = opened.error().text();
      continue;
    }
    const Grant& grant = *state_.find_grant_by_name(name);
    state.urls = grant_urls(grant_places(ingress_hosts(IngressUse::grants)), grant.uid);
    state.url = state.urls.front();
    state.code = grant.code;
    state.ca = state_.ca_certificates();
    grants_untold_.erase(grant.uid);
  }
}

// Someone may hold a token that names it. A grant of an earlier run was told.
bool SiteAccess::is_grant_port_given() const {
  return state_.port("grant") && std::ranges::any_of(state_.grants(), [&](const auto& entry) {
           return entry.second.is_open(now_) && !grants_untold_.contains(entry.first);
         });
}

Result<> SiteAccess::bind_grant_server(GrantServer& server) const {
  const std::vector<std::string> any{has_ipv6() ? "::" : "0.0.0.0"};
  uint16_t first = state_.port("grant").value_or(kGrantPort);
  if (is_grant_port_given()) {
    auto bound = server.open(any, first, 1);
    if (bound || bound.error().error_class() != ErrorClass::taken) return bound;
    return Error::taken(bound.error().text() + waiting_for_port("tokens"));
  }
  if (!is_free_everywhere(first)) first = kGrantPort;
  return server.open(any, first_free_port(first));
}

Result<> SiteAccess::open_grant_server() {
  if (!grant_server_) {
    GrantServerSink& sink = *this;
    auto server = std::make_unique<GrantServer>(
        loop_, state_, sink,
        GrantServerOptions{
            .clock = options_.clock, .key_log = options_.key_log, .metrics = &grant_metrics_});
    TRY(bind_grant_server(*server));
    TRY(state_.set_port("grant", server->port()));
    grant_server_ = std::move(server);
    LOG_INFO("tokens can be redeemed", "port", grant_server_->port());
  }
  const auto credentials =
      TRY(state_.server_credentials(kGrantServerSecret, ingress_hosts(IngressUse::grants), now_));
  return grant_server_->set_certificate(credentials);
}

// The answer to the last redemption is still on its way.
void SiteAccess::close_grant_server() {
  if (!grant_server_) return;
  LOG_INFO("no token can be redeemed any more", "port", grant_server_->port());
  grant_server_->stop_accepting();
  closing_.push_back(std::move(grant_server_));
}

Result<std::vector<Document>> SiteAccess::generate_link(const std::string& name,
                                                        const std::vector<std::string>& hosts,
                                                        uint32_t cost) {
  if (link_addresses_.empty()) {
    return Error::config(
        "this site does not let others link to it; let it with `istmo site update "
        "--enable-link-access`");
  }
  std::vector<std::string> known = ingress_hosts(IngressUse::links);
  for (const LinkAddress& address : link_addresses_) known.push_back(address.host);
  TRY(remember_hosts(hosts, known));
  std::vector<LinkAddress> addresses;
  for (const std::string& host : hosts) addresses.push_back({host, link_addresses_.front().port});
  if (hosts.empty()) addresses = link_addresses_;
  const auto credentials = TRY(state_.issue_for({.common_name = name, .lifetime = kGivenLifetime},
                                                "link generate", options_.clock()));
  return make_link_documents(name, credentials, addresses, cost);
}

Result<Document> SiteAccess::make_token(const std::string& grant_name,
                                        const std::vector<std::string>& hosts) {
  const Grant* grant = state_.find_grant_by_name(grant_name);
  if (grant == nullptr || !grant->is_wanted) {
    return Error::config("there is no AccessGrant '" + grant_name + "'");
  }
  if (!state_.is_stored(*grant)) {
    return Error::config("AccessGrant '" + grant_name + "' is not written yet, try again");
  }
  if (const std::string why = grant->why_closed(options_.clock()); !why.empty()) {
    return Error::config("AccessGrant '" + grant_name + "' cannot be redeemed any more: " + why);
  }
  if (!grant_server_) return Error::config("the grant port is not open, see `istmo token status`");
  const auto known = ingress_hosts(IngressUse::grants);
  TRY(remember_hosts(hosts, known));
  TRY(open_grant_server());  // the certificate
  const auto urls = grant_urls(grant_places(hosts.empty() ? known : hosts), grant->uid);
  return make_access_token(grant_name, *grant, urls, state_.ca_certificates(), std::nullopt);
}

std::string SiteAccess::on_port_refused(const std::string& access) {
  const auto chosen = ports_.find(access);
  if (chosen == ports_.end()) return "; end what listens there, or name another port in spec.roles";
  if (is_link_port_given()) return waiting_for_port("links");
  LOG_INFO("link port taken by another site", "access", access, "port", chosen->second);
  next_port_ = std::max(next_port_, static_cast<uint16_t>(chosen->second + 1));
  ports_.erase(chosen);
  return {};
}

void SiteAccess::close() {
  close_grant_server();
  for (const auto& server : closing_) server->close();
}

bool SiteAccess::is_idle() const {
  return !grant_server_ &&
         std::ranges::all_of(closing_, [](const auto& server) { return server->is_idle(); });
}

void SiteAccess::on_grant_redeemed(const Grant& grant) {
  LOG_INFO("token redeemed", "grant", grant.name, "redemptions", grant.redemptions());
  sink_.on_access_changed();
}

}  // namespace istmo::control
