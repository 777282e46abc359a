// token create, token status: the right to link to this site, as a file.
#include <cstdlib>

#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
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

Result<std::string> claim_token(const LocalSite& site, const Arguments& arguments) {
  const TokenArguments& token = arguments.token;
  AccessGrantDocument grant;
  grant.metadata.name = token.name;
  if (token.name.empty()) {
    const Desired documents = site.documents();
    const SiteDocument* document = documents.site();
    grant.metadata.name =
        (document == nullptr ? site.namespace_name() : document->name()) + "-" + random_uuid();
  }
  TRY(check_resource_name(grant.metadata.name));
  if (site.find(id_of(grant))) {
    return Error::config("there is a token '" + grant.name() + "' already; choose another --name");
  }
  grant.redemptions_allowed = token.uses;
  grant.expiration_window = TRY(parse_duration(token.expiry));
  if (grant.expiration_window->ns <= 0) return Error::config("--expiry must be longer than 0s");
  grant.code = token.password;
  TRY(site.write(grant));
  const auto ready = site.wait_for(id_of(grant), kGrantPatience, [](const Value& found) {
    return !text_at(found, "status", "url").empty() ||
           text_at(found, "status", "status") == "Error";
  });
  if (!ready || text_at(*ready, "status", "url").empty()) {
    TRY(site.remove(id_of(grant)));
    if (!ready) return Error(ready.error());
    return Error::config("the site cannot make a token: " + text_at(*ready, "status", "message"));
  }
  Value request = request_of("token");
  request.set("name", grant.name());
  request.set("hosts", hosts_value(arguments.run.ingress_hosts));
  return joined_documents(TRY(site.ask(request)));
}

// A claim's grant asks for the link port by itself; a certificate leaves no grant behind.
Result<> open_link_access(const LocalSite& site) {
  const Desired documents = site.documents();
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

Result<std::string> certificate_token(const LocalSite& site, const Arguments& arguments) {
  TRY(open_link_access(site));
  Value request = request_of("generate-link");
  request.set("name", arguments.token.name.empty() ? "link-" + site.namespace_name()
                                                   : arguments.token.name);
  const auto& hosts = arguments.run.ingress_hosts;
  request.set("host", hosts.empty() ? std::string() : hosts.front());
  return joined_documents(TRY(site.ask(request)));
}

// The AccessToken of a file.
Result<AccessTokenDocument> token_of_file(const std::string& file) {
  const std::string text = TRY(read_file(file));
  for (const Document& document : parse_documents(text, file).documents) {
    if (const auto* token = std::get_if<AccessTokenDocument>(&document)) return *token;
  }
  return Error::config(file + " holds no token (a document of kind AccessToken)");
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

}  // namespace

Result<int> create_token(const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open(arguments));
  const auto options = read_site_options(site.paths());
  if (options && !options->has_ingress) {
    return Error::config("the site of namespace '" + site.namespace_name() +
                         "' was made with --ingress none: others cannot link to it");
  }
  TRY(site.connect());
  const auto text = arguments.token.type == "cert" ? certificate_token(site, arguments)
                                                   : claim_token(site, arguments);
  if (!text) return Error(text.error());
  TRY(write_file(arguments.token.file, *text));
  print("Token written to " + arguments.token.file + "\n");
  return kExitDone;
}

Result<int> show_token(const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open(arguments));
  std::vector<Value> grants = TRY(site.documents_with_status("AccessGrant"));
  std::string text;
  if (!arguments.token.file.empty()) {
    const AccessTokenDocument token = TRY(token_of_file(arguments.token.file));
    std::erase_if(grants, [&](const Value& grant) {
      return text_at(grant, "metadata", "name") != token.name();
    });
    text = file_token_text(token, arguments.token.file);
    if (grants.empty()) text += "\tThis site did not give it, or has removed it\n";
  } else if (grants.empty()) {
    text = "There are no tokens\n";
  }
  for (const Value& grant : grants) text += grant_text(grant);
  print(arguments.output == Output::text ? text : list_text(grants, arguments.output));
  return kExitDone;
}

}  // namespace istmo::control
