#include "control/access_documents.h"

#include <algorithm>
#include <utility>

#include "control/plain_text.h"

namespace istmo::control {
namespace {

constexpr std::string_view kScheme = "https://";

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

void add_once(std::vector<std::string>& list, std::string_view text) {
  if (!text.empty() && std::ranges::find(list, text) == list.end()) list.emplace_back(text);
}

}  // namespace

std::vector<std::string> grant_urls(const std::vector<LinkAddress>& places,
                                    std::string_view grant_uid) {
  std::vector<std::string> urls;
  for (const auto& [host, port] : places) {
    const bool is_ipv6 = host.contains(':');
    std::string url(kScheme);
    url += is_ipv6 ? "[" + host + "]" : host;
    url += ":" + std::to_string(port) + "/";
    url += grant_uid;
    add_once(urls, url);
  }
  return urls;
}

AccessTokenDocument make_access_token(const std::string& name, const Grant& grant,
                                      const std::vector<std::string>& urls, const std::string& ca,
                                      std::optional<uint32_t> link_cost) {
  AccessTokenDocument token;
  token.metadata.name = name;
  token.url = urls.empty() ? std::string() : urls.front();
  token.code = grant.code;
  token.ca = ca;
  token.link_cost = link_cost;
  std::string further;
  for (size_t i = 1; i < urls.size(); ++i) further += (further.empty() ? "" : ",") + urls[i];
  if (!further.empty()) token.metadata.annotations[kUrlsAnnotation] = further;
  return token;
}

std::vector<std::string> token_urls(const AccessTokenDocument& token) {
  std::vector<std::string> urls;
  add_once(urls, token.url);
  const auto found = token.metadata.annotations.find(kUrlsAnnotation);
  if (found == token.metadata.annotations.end()) return urls;
  std::string_view rest = found->second;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(','), rest.size());
    add_once(urls, rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return urls;
}

Result<HttpsUrl> parse_https_url(std::string_view url) {
  const auto bad = [&](std::string_view why) {
    return Error::config("url '" + std::string(url) + "': " + std::string(why));
  };
  if (!url.starts_with(kScheme)) return bad("it does not start with https://");
  if (!is_visible(url)) return bad("it has a blank or a control character");
  if (url.contains('#')) return bad("it has a '#', and what follows that is never sent");
  std::string_view rest = url.substr(kScheme.size());
  const size_t path = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, path);
  HttpsUrl parsed;
  parsed.path = path < rest.size() ? std::string(rest.substr(path)) : "/";
  if (authority.contains('@')) return bad("user names are not supported");
  size_t host_size = authority.rfind(':');
  if (authority.starts_with('[')) {
    const size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) return bad("']' is missing");
    parsed.host = authority.substr(1, bracket - 1);
    authority.remove_prefix(bracket + 1);
    host_size = 0;
  } else {
    parsed.host = authority.substr(0, host_size);
    authority.remove_prefix(std::min(host_size, authority.size()));
  }
  if (parsed.host.empty()) return bad("the host is missing");
  if (authority.empty()) return parsed;
  if (!authority.starts_with(':')) return bad("the port is malformed");
  const auto port = port_from(authority.substr(1));
  if (!port) return bad("'" + std::string(authority.substr(1)) + "' is no port");
  parsed.port = *port;
  return parsed;
}

std::vector<Document> make_link_documents(const std::string& name,
                                          const proxy::Credentials& credentials,
                                          const std::vector<LinkAddress>& addresses,
                                          uint32_t cost) {
  SecretDocument secret;
  secret.metadata.name = name;
  secret.type = "kubernetes.io/tls";
  secret.data = {{"ca.crt", credentials.ca},
                 {"tls.crt", credentials.certificate},
                 {"tls.key", credentials.private_key}};
  LinkDocument link;
  link.metadata.name = name;
  link.tls_credentials = name;
  link.cost = cost;
  for (const LinkAddress& address : addresses) {
    link.endpoints.push_back(
        {.name = "inter-router", .host = address.host, .port = address.port, .group = "istmo"});
  }
  std::vector<Document> documents;
  documents.emplace_back(std::move(secret));
  documents.emplace_back(std::move(link));
  return documents;
}

}  // namespace istmo::control
