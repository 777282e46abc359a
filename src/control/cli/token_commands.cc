// token create, token status: the right to link to this site, as a file.
#include <algorithm>
#include <cstdlib>

#include "control/access_documents.h"
#include "control/cli/cluster_ingress.h"
#include "control/cli/cluster_link.h"
#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/cli/token_file.h"
#include "control/cli/usage.h"
#include "control/document_text.h"
#include "control/durations.h"
#include "control/pki.h"
#include "control/site_options.h"

namespace istmo::control {

namespace {

constexpr Duration kGrantPatience = Duration::seconds(15);

Value hosts_value(const std::vector<std::string>& hosts) {
  Value list = Value::list();
  for (const std::string& host : hosts) list.add(host);
  return list;
}

std::string joined_documents(const std::vector<Value>& documents) {
  std::string text;
  for (const Value& document : documents) {
    text += (text.empty() ? "" : "---\n") + write_value(document, Format::yaml);
  }
  return text;
}

// What goes into the file, and the grant behind it, which goes when the file cannot be written.
struct MadeToken {
  std::string text;
  std::optional<ObjectId> grant;
};

// What a grant's status has of URLs, which is what a token has.
std::vector<std::string> urls_of(const Value& grant) {
  std::vector<std::string> urls;
  if (const Value* status = grant.find("status")) {
    for (const Value& url : items_at(*status, "urls")) urls.push_back(url.text());
  }
  if (urls.empty()) urls.push_back(text_at(grant, "status", "url"));
  return urls;
}

// In a cluster the gateway hears of a new address later than this command.
bool names_all(const Value& grant, const std::vector<std::string>& hosts) {
  const std::vector<std::string> urls = urls_of(grant);
  return std::ranges::all_of(hosts, [&](const std::string& host) {
    return std::ranges::any_of(urls, [&](const std::string& text) {
      const auto url = parse_https_url(text);
      return url && usual_host(url->host) == usual_host(host);
    });
  });
}

std::string token_text(const Value& ready, const AccessGrantDocument& grant) {
  Grant known;
  known.code = text_at(ready, "status", "code");
  const AccessTokenDocument token = make_access_token(grant.name(), known, urls_of(ready),
                                                      text_at(ready, "status", "ca"), std::nullopt);
  return write_document(token, Format::yaml);
}

// `hosts`: which the token must name.
Result<MadeToken> claim_token(const CommandSite& site, const Arguments& arguments,
                              const std::vector<std::string>& hosts) {
  const TokenArguments& token = arguments.token;
  AccessGrantDocument grant;
  grant.metadata.name = token.name;
  if (token.name.empty()) {
    const Desired documents = TRY(site.documents());
    const SiteDocument* document = documents.site();
    grant.metadata.name =
        (document == nullptr ? site.namespace_name() : document->name()) + "-" + random_uuid();
  }
  if (TRY(site.find(id_of(grant)))) {
    return Error::config("there is a token '" + grant.name() + "' already; choose another --name");
  }
  grant.redemptions_allowed = token.uses;
  grant.expiration_window = TRY(parse_duration(token.expiry));
  grant.code = token.password;
  TRY(check_document(grant));
  TRY(site.write(grant));
  const auto ready = site.wait_for(id_of(grant), kGrantPatience, [&](const Value& found) {
    if (text_at(found, "status", "status") == "Error") return true;
    return !text_at(found, "status", "expirationTime").empty() && names_all(found, hosts);
  });
  if (!ready || text_at(*ready, "status", "url").empty()) {
    TRY(site.remove(id_of(grant)));
    if (!ready) return Error(ready.error());
    return Error::config("the site cannot make a token: " + text_at(*ready, "status", "message"));
  }
  if (site.is_in_cluster()) return MadeToken{token_text(*ready, grant), id_of(grant)};
  Value request = request_of("token");
  request.set("name", grant.name());
  request.set("hosts", hosts_value(arguments.run.ingress_hosts));
  return MadeToken{joined_documents(TRY(site.ask(request))), id_of(grant)};
}

// A claim's grant asks for the link port by itself; a certificate leaves no grant behind.
Result<> open_link_access(const CommandSite& site) {
  const Desired documents = TRY(site.documents());
  if (documents.site() == nullptr || documents.site()->accepts_links()) return {};
  SiteDocument document = *documents.site();
  document.link_access = "default";
  TRY(site.write(document));
  TRY(site.wait_applied(document, kGrantPatience));
  TRY(site.wait_for(id_of(document), kGrantPatience, [](const Value& found) {
    const Value* status = found.find("status");
    return status != nullptr && !items_at(*status, "endpoints").empty();
  }));
  return {};
}

std::string certificate_token_name(const CommandSite& site, const Arguments& arguments) {
  return arguments.token.name.empty() ? "link-" + site.namespace_name() : arguments.token.name;
}

Result<MadeToken> certificate_token(const CommandSite& site, const Arguments& arguments) {
  TRY(open_link_access(site));
  Value request = request_of("generate-link");
  request.set("name", certificate_token_name(site, arguments));
  request.set("hosts", hosts_value(arguments.run.ingress_hosts));
  return MadeToken{joined_documents(TRY(site.ask(request))), std::nullopt};
}

std::string grant_text(const Value& grant) {
  const uint64_t allowed = std::max<uint64_t>(
      1, std::strtoull(text_at(grant, "spec", "redemptionsAllowed").c_str(), nullptr, 10));
  const uint64_t made = std::strtoull(text_at(grant, "status", "redemptions").c_str(), nullptr, 10);
  return "Token " + text_at(grant, "metadata", "name") + "\n" +
         "\tClaims made: " + std::to_string(made) + "\n" +
         "\tClaims remaining: " + std::to_string(allowed > made ? allowed - made : 0) + "\n" +
         "\tExpires: " + text_at(grant, "status", "expirationTime") + "\n" +
         "\tStatus: " + text_at(grant, "status", "message") + "\n";
}

std::string file_token_text(const AccessTokenDocument& token, const std::string& file) {
  std::string text = "Token " + token.name() + " of " + file + "\n\tURL: " + token.url + "\n";
  const auto ca = inspect_certificate(token.ca, file);
  if (ca) text += "\tCA: " + ca->subject + ", SHA-256 " + ca->fingerprint_sha256 + "\n";
  return text;
}

// A long-lived token: the documents of a link.
std::string certificate_token_text(const TokenFile& token, const std::string& file) {
  std::string text = "Token " + token.link->name() + " of " + file +
                     "\n\tCertificate: for any number of links, until it expires\n";
  for (const LinkEndpoint& endpoint : token.link->endpoints) {
    text += "\tURL: amqps://" + endpoint.host + ":" + std::to_string(endpoint.port) + "\n";
  }
  const auto& data = token.secret->data;
  const auto part = [&](const char* key) {
    const auto found = data.find(key);
    return found == data.end() ? std::string() : found->second;
  };
  if (const auto own = inspect_certificate(part("tls.crt"), file)) {
    text += "\tSubject: " + own->subject + "\n";
  }
  if (const auto ca = inspect_certificate(part("ca.crt"), file)) {
    text += "\tCA: " + ca->subject + ", SHA-256 " + ca->fingerprint_sha256 + "\n";
  }
  return text;
}

Result<MadeToken> token_here(const CommandSite& site, const Arguments& arguments) {
  const auto options = read_site_options(TRY(LocalSite::of(arguments)).paths());
  if (options && !options->has_ingress) {
    return Error::config("the site of namespace '" + site.namespace_name() +
                         "' was made with --ingress none: others cannot link to it");
  }
  TRY(site.check_takes_changes());
  if (arguments.token.type == "cert") return certificate_token(site, arguments);
  return claim_token(site, arguments, {});
}

Result<MadeToken> token_in_cluster(const ClusterSite& site, const Arguments& arguments) {
  TRY(site.check_takes_changes());
  const std::vector<std::string> hosts = TRY(wait_for_address(site, arguments));
  if (arguments.token.type != "cert") return claim_token(site, arguments, hosts);
  const LinkRequest request{.name = certificate_token_name(site, arguments),
                            .hosts = arguments.run.ingress_hosts,
                            .awaited_hosts = hosts};
  std::vector<Value> documents;
  for (const Document& document : TRY(make_cluster_link(site, request))) {
    documents.push_back(to_value(document));
  }
  return MadeToken{joined_documents(documents), std::nullopt};
}

}  // namespace

Result<int> create_token(const Arguments& arguments) {
  const auto site = TRY(open_site_to_change(arguments));
  const MadeToken made = TRY(
      site->is_in_cluster() ? token_in_cluster(dynamic_cast<const ClusterSite&>(*site), arguments)
                            : token_here(*site, arguments));
  const Result<> written = write_file(arguments.token.file, made.text);
  if (!written && made.grant) {  // nobody has the token: nobody may redeem it
    TRY(site->remove(*made.grant));
    TRY(site->wait_gone(*made.grant, kGrantPatience));
  }
  TRY(Result<>(written));
  print("Token written to " + arguments.token.file + "\n");
  return kExitDone;
}

Result<int> show_token(const Arguments& arguments) {
  const auto site = TRY(open_site(arguments));
  std::vector<Value> grants = TRY(site->documents_with_status("AccessGrant"));
  std::string text;
  if (!arguments.token.file.empty()) {
    const TokenFile file = TRY(read_token_file(arguments.token.file));
    std::erase_if(grants, [&](const Value& grant) {
      return !file.token || text_at(grant, "metadata", "name") != file.token->name();
    });
    text = file.token ? file_token_text(*file.token, arguments.token.file)
                      : certificate_token_text(file, arguments.token.file);
    if (file.token && grants.empty()) text += "\tThis site did not give it, or has removed it\n";
    if (!file.token) grants = {to_value(*file.link)};  // without its private key
  } else if (grants.empty()) {
    text = "There are no tokens\n";
  }
  for (const Value& grant : grants) {
    if (text_at(grant, "kind") == "AccessGrant") text += grant_text(grant);
  }
  print(arguments.output == Output::text ? text : list_text(grants, arguments.output));
  return exit_code_of_showing(*site);
}

}  // namespace istmo::control
