// link create, status, delete, generate.
#include <algorithm>
#include <map>

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
#include "control/private_file.h"
#include "control/redeem.h"
#include "control/site_options.h"

namespace istmo::control {

namespace {

constexpr Duration kApplyPatience = Duration::seconds(15);
constexpr Duration kLookAgain = Duration::milliseconds(50);
constexpr Duration kRedeemPatience = Duration::seconds(30);
constexpr Duration kRedeemAgain = Duration::seconds(3);  // what failed first may succeed then

Result<std::string> first_free_name(const CommandSite& site) {
  const Desired documents = TRY(site.documents());
  for (int number = 1;; ++number) {
    const std::string name = "link" + std::to_string(number);
    if (!documents.links.contains(name) && !documents.secrets.contains(name) &&
        !documents.certificates.contains(name)) {
      return name;
    }
  }
}

Result<std::string> own_site_id(const CommandSite& site) {
  const std::vector<Value> items = TRY(site.ask(request_of("site")));
  if (items.empty()) return Error::internal("the site did not say who it is");
  return text_at(items.front(), "id");
}

// The Secret first, so that the Link never stands without it.
Result<> write_link(const CommandSite& site, const std::string& name, SecretDocument secret,
                    LinkDocument link, uint32_t cost) {
  secret.metadata.name = name;
  link.metadata.name = name;
  link.tls_credentials = name;
  link.cost = cost;
  TRY(check_document(secret));
  TRY(check_document(link));
  TRY(site.write(secret));
  TRY(site.write(link));
  TRY(site.wait_applied(link, kApplyPatience));
  return {};
}

Error not_redeemed(const Arguments& arguments, const std::string& why) {
  return Error::refused("the token of " + arguments.token.file + " could not be redeemed: " + why);
}

uint32_t cost_of(const Arguments& arguments, const AccessTokenDocument& token) {
  return arguments.link.cost == 1 ? token.link_cost.value_or(1) : arguments.link.cost;
}

Result<> redeem_here(const CommandSite& site, const Arguments& arguments,
                     const AccessTokenDocument& token, const std::string& name) {
  const std::string site_id = TRY(own_site_id(site));
  // The token is used up by it: what it gives must find room.
  const LocalSite local = TRY(LocalSite::of(arguments));
  const std::filesystem::path room = local.paths().resources() / ("." + name + ".room");
  TRY(reserve_room(room));
  const auto redeemed = redeem_blocking(token, site_id);
  TRY(remove_private_file(room));
  if (!redeemed) return not_redeemed(arguments, redeemed.error().text());
  return write_link(site, name, redeemed->secret, redeemed->links.front(),
                    cost_of(arguments, token));
}

// The gateway redeems it: names that only its cluster knows are for it, and so is the key.
Result<> redeem_in_cluster(const CommandSite& site, const Arguments& arguments,
                           AccessTokenDocument token, const std::string& name) {
  token.metadata.name = name;
  token.link_cost = cost_of(arguments, token);
  const ObjectId id = id_of(token);
  TRY(check_document(token));
  TRY(site.write(token));
  std::optional<Instant> failed_at;
  const auto seen = site.wait_for(id, kRedeemPatience, [&](const Value& found) {
    if (text_at(found, "status", "redeemed") == "true") return true;
    if (text_at(found, "status", "status") != "Error") return false;
    // The gateway tries again what may yet succeed.
    if (!failed_at) failed_at = monotonic_now();
    return monotonic_now() - *failed_at >= kRedeemAgain;
  });
  if (seen && text_at(*seen, "status", "redeemed") == "true") return {};
  TRY(site.remove(id));
  if (!seen) return not_redeemed(arguments, seen.error().text());
  return not_redeemed(arguments, text_at(*seen, "status", "message"));
}

Result<std::vector<Value>> links_of(const CommandSite& site) {
  return site.ask(request_of("links"));
}

bool is_connected(const Value& link) { return text_at(link, "isConnected") == "true"; }

// Outgoing links: every Link document, with what the site knows of it.
std::map<std::string, Value> outgoing_links(const std::vector<Value>& documents,
                                            const std::vector<Value>& running) {
  std::map<std::string, Value> links;
  for (const Value& document : documents) {
    const std::string& name = text_at(document, "metadata", "name");
    Value& link = links[name];
    link.set("isConnected", false);
    link.set("error", text_at(document, "status", "message"));
  }
  for (const Value& link : running) {
    if (text_at(link, "isIncoming") == "true" || !links.contains(text_at(link, "name"))) continue;
    Value shown = link;
    // Before the first attempt ended the document's status says more.
    if (text_at(link, "error").empty())
      shown.set("error", text_at(links[text_at(link, "name")], "error"));
    links[text_at(link, "name")] = std::move(shown);
  }
  return links;
}

std::string outgoing_text(const std::string& name, const Value& link, bool is_verbose) {
  std::string text = "\t Link " + name;
  if (is_connected(link)) text += " is connected";
  else text += " not connected (" + text_at(link, "error") + ")";
  if (is_verbose && is_connected(link)) {
    text += " to site " + text_at(link, "siteName") + " at " + text_at(link, "remoteAddress") +
            ", cost " + text_at(link, "cost") + ", " + text_at(link, "connectionsOpen") + " of " +
            text_at(link, "connectionsWanted") + " connections";
  }
  return text + "\n";
}

std::string links_text(const std::map<std::string, Value>& outgoing,
                       const Result<std::vector<Value>>& running,
                       const std::map<std::string, std::string>& namespaces, bool is_verbose) {
  std::string text = "\nLinks created from this site:\n\n";
  if (outgoing.empty()) text += "\t There are no links configured or connected\n";
  for (const auto& [name, link] : outgoing) text += outgoing_text(name, link, is_verbose);
  text += "\nCurrent links from other sites that are connected:\n\n";
  if (!running) return text + "\t Not known: the site does not run\n";
  bool has_incoming = false;
  for (const Value& link : *running) {
    if (text_at(link, "isIncoming") != "true" || !is_connected(link)) continue;
    has_incoming = true;
    const auto known = namespaces.find(text_at(link, "siteId"));
    text += "\t Incoming link from site " + text_at(link, "siteId") + " on namespace " +
            (known == namespaces.end() ? text_at(link, "siteName") : known->second) + "\n";
  }
  if (!has_incoming) text += "\t There are no connected links\n";
  return text;
}

// Namespaces of the sites of the network, from the Site's status.
std::map<std::string, std::string> namespaces_of(const CommandSite& site) {
  std::map<std::string, std::string> namespaces;
  const auto documents = site.documents_with_status("Site");
  if (!documents) return namespaces;
  for (const Value& document : *documents) {
    const Value* status = document.find("status");
    if (status == nullptr) continue;
    for (const Value& known : items_at(*status, "network")) {
      namespaces[text_at(known, "id")] = text_at(known, "namespace");
    }
  }
  return namespaces;
}

}  // namespace

Result<int> create_link(const Arguments& arguments) {
  const auto site = TRY(open_site_to_change(arguments));
  const TokenFile file = TRY(read_token_file(arguments.token.file));
  const std::string name =
      arguments.link.name.empty() ? TRY(first_free_name(*site)) : arguments.link.name;
  TRY(check_resource_name(name));
  if (TRY(site->find({"Link", name})) || TRY(site->find({"AccessToken", name}))) {
    return Error::config("there is a link '" + name + "' already; choose another --name");
  }
  if (TRY(site->find({"Certificate", name}))) {
    return Error::config("the Secret '" + name + "' is a Certificate's; choose another --name");
  }
  TRY(site->check_takes_changes());
  std::string url;
  if (file.token) {
    url = file.token->url;
    TRY(site->is_in_cluster() ? redeem_in_cluster(*site, arguments, *file.token, name)
                              : redeem_here(*site, arguments, *file.token, name));
  } else {
    TRY(write_link(*site, name, *file.secret, *file.link, arguments.link.cost));
    const LinkEndpoint& endpoint = file.link->endpoints.front();
    url = "amqps://" + endpoint.host + ":" + std::to_string(endpoint.port);
  }
  print("Site configured to link to " + url + " (name=" + name + ")\n" +
        "Check the status of the link using 'istmo link status'.\n");
  return kExitDone;
}

Result<int> show_links(const Arguments& arguments) {
  const auto handle = TRY(open_site(arguments));
  const CommandSite& site = *handle;
  const std::string& wanted = arguments.link.name;
  const Instant deadline = monotonic_now() + TRY(parse_waiting_time(arguments.link.wait));
  while (true) {
    std::vector<Value> documents = TRY(site.documents_with_status("Link"));
    std::erase_if(documents, [&](const Value& document) {
      return !wanted.empty() && text_at(document, "metadata", "name") != wanted;
    });
    if (!wanted.empty() && documents.empty()) {
      return Error::config("there is no link '" + wanted + "'");
    }
    const auto running = links_of(site);
    const auto outgoing = outgoing_links(documents, running.value_or(std::vector<Value>{}));
    const bool are_up =
        std::ranges::all_of(outgoing, [](const auto& entry) { return is_connected(entry.second); });
    if (!are_up && monotonic_now() < deadline) {
      sleep_for(kLookAgain);
      continue;
    }
    if (arguments.output != Output::text) {
      print(wanted.empty() ? list_text(documents, arguments.output)
                           : document_text(documents.front(), arguments.output));
    } else if (!wanted.empty()) {
      print(outgoing_text(wanted, outgoing.at(wanted), arguments.is_verbose).substr(2));
    } else {
      print(links_text(outgoing, running, namespaces_of(site), arguments.is_verbose));
    }
    const int exit_code = exit_code_of_showing(site);
    return are_up || arguments.link.wait.empty() ? exit_code : kExitFailed;
  }
}

Result<int> delete_link(const Arguments& arguments) {
  const auto site = TRY(open_site_to_change(arguments));
  const ObjectId id{"Link", arguments.link.name};
  const Desired documents = TRY(site->documents());
  const auto link = documents.links.find(id.name);
  const bool has_token = site->is_in_cluster() && documents.tokens.contains(id.name);
  if (has_token) TRY(site->remove({"AccessToken", id.name}));
  if (link != documents.links.end()) {
    TRY(site->remove(id));
    const bool is_secret_shared = std::ranges::any_of(documents.links, [&](const auto& other) {
      return other.first != id.name && other.second.tls_credentials == link->second.tls_credentials;
    });
    const ObjectId secret{"Secret", link->second.tls_credentials};
    const bool is_kept = is_secret_shared || documents.certificates.contains(secret.name);
    if (!is_kept && documents.find(secret)) TRY(site->remove(secret));
  } else if (!has_token) {
    // Not a written document: perhaps an AccessToken document gave it.
    Value request = request_of("forget-link");
    request.set("name", id.name);
    if (site->is_in_cluster() || !site->ask(request)) {
      return Error::config("there is no link '" + id.name + "'");
    }
  }
  if (site->check_runs()) TRY(site->wait_gone(id, kApplyPatience));
  print("Link '" + id.name + "' has been removed\n");
  return kExitDone;
}

namespace {

std::string link_name(const CommandSite& site, const Arguments& arguments) {
  return arguments.link.name.empty() ? "link-" + site.namespace_name() : arguments.link.name;
}

Result<std::vector<Value>> generate_here(const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open(arguments));
  Value request = request_of("generate-link");
  request.set("name", link_name(site, arguments));
  request.set("host", arguments.link.host);
  request.set("cost", arguments.link.cost);
  return site.ask(request);
}

Result<std::vector<Value>> generate_in_cluster(Arguments arguments) {
  const ClusterSite site = TRY(ClusterSite::open(arguments));
  TRY(site.check_takes_changes());
  LinkRequest request{.name = link_name(site, arguments), .cost = arguments.link.cost};
  if (!arguments.link.host.empty()) request.hosts = {arguments.link.host};
  arguments.run.ingress_hosts = request.hosts;
  request.awaited_hosts = TRY(wait_for_address(site, arguments));
  std::vector<Value> documents;
  for (const Document& document : TRY(make_cluster_link(site, request))) {
    documents.push_back(to_value(document));
  }
  return documents;
}

}  // namespace

Result<int> generate_link(const Arguments& arguments) {
  std::vector<Value> documents =
      TRY(is_in_cluster(arguments) ? generate_in_cluster(arguments) : generate_here(arguments));
  // v2 prints the Link first.
  std::ranges::stable_partition(
      documents, [](const Value& document) { return text_at(document, "kind") == "Link"; });
  if (arguments.output == Output::json) {
    print(list_text(documents, Output::json));
    return kExitDone;
  }
  std::string text;
  for (const Value& document : documents) {
    text += (text.empty() ? "" : "---\n") + write_value(document, Format::yaml);
  }
  print(text);
  return kExitDone;
}

}  // namespace istmo::control
