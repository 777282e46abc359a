#include "control/cli/cluster_link.h"

#include <algorithm>

#include "control/access_documents.h"
#include "control/base64.h"
#include "control/cli/terminal.h"
#include "control/cli/usage.h"
#include "control/pki.h"
#include "control/plain_text.h"

namespace istmo::control {

namespace {

constexpr Duration kPatience = Duration::seconds(30);
constexpr Duration kLookAgain = Duration::milliseconds(200);

std::vector<LinkAddress> addresses_of(const Value& site) {
  std::vector<LinkAddress> addresses;
  const Value* status = site.find("status");
  for (const Value& endpoint : status ? items_at(*status, "endpoints") : std::vector<Value>()) {
    const auto port = port_from(text_at(endpoint, "port"));
    if (text_at(endpoint, "name") != "inter-router" || !port) continue;
    addresses.push_back({text_at(endpoint, "host"), *port});
  }
  return addresses;
}

bool is_among(const std::vector<LinkAddress>& addresses, const std::string& host) {
  return std::ranges::any_of(addresses, [&](const LinkAddress& address) {
    return usual_host(address.host) == usual_host(host);
  });
}

// As the gateway's status of the Site tells it.
Result<std::vector<LinkAddress>> link_addresses(const ClusterSite& site,
                                                const LinkRequest& request) {
  const Desired documents = TRY(site.documents());
  if (documents.site() == nullptr) return Error::config("there is no Site document");
  const auto found = site.wait_for(id_of(*documents.site()), kPatience, [&](const Value& value) {
    const std::vector<LinkAddress> addresses = addresses_of(value);
    const auto is_there = [&](const std::string& host) { return is_among(addresses, host); };
    return !addresses.empty() && std::ranges::all_of(request.hosts, is_there) &&
           std::ranges::all_of(request.awaited_hosts, is_there);
  });
  std::vector<LinkAddress> addresses = addresses_of(TRY(Result<Value>(found)));
  std::erase_if(addresses, [&](const LinkAddress& address) {
    const auto is_it = [&](const std::string& host) {
      return usual_host(host) == usual_host(address.host);
    };
    return !request.hosts.empty() && std::ranges::none_of(request.hosts, is_it);
  });
  return addresses;
}

Result<Value> wait_for_secret(const ClusterSite& site, const std::string& name) {
  const Instant deadline = monotonic_now() + kPatience;
  while (true) {
    auto secret = site.api().get({"Secret", name});
    const bool is_missing = !secret && secret.error().error_class() == ErrorClass::closed;
    if (!is_missing || monotonic_now() >= deadline) return secret;
    sleep_for(kLookAgain);
  }
}

Result<proxy::Credentials> wait_for_credentials(const ClusterSite& site,
                                                const CertificateDocument& document) {
  const Value found = TRY(site.wait_for(id_of(document), kPatience, [](const Value& value) {
    const std::string& status = text_at(value, "status", "status");
    return status == "Ready" || status == "Error";
  }));
  if (text_at(found, "status", "status") == "Error") {
    return Error::refused("the site issued no certificate: " + text_at(found, "status", "message"));
  }
  const Value secret = TRY(wait_for_secret(site, document.name()));
  const auto part = [&](const char* key) {
    return decode_base64(text_at(secret, "data", key)).value_or("");
  };
  proxy::Credentials credentials{part("tls.crt"), part("tls.key"), part("ca.crt")};
  TRY(check_credentials(credentials, "Secret " + document.name(), wall_now()));
  return credentials;
}

}  // namespace

Result<std::vector<Document>> make_cluster_link(const ClusterSite& site,
                                                const LinkRequest& request) {
  const std::vector<LinkAddress> addresses = TRY(link_addresses(site, request));
  CertificateDocument document;
  document.metadata.name = "link-generate-" + random_uuid().substr(0, 8);
  document.subject = request.name;
  document.is_client = true;
  TRY(check_document(document));
  TRY(site.write(document));
  const auto credentials = wait_for_credentials(site, document);
  const auto removed = site.remove(id_of(document));
  if (!credentials) return std::unexpected(credentials.error());
  TRY(Result<>(removed));
  return make_link_documents(request.name, *credentials, addresses, request.cost);
}

}  // namespace istmo::control
