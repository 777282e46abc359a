// site|listener|connector create, update, status, delete, generate: v2's verbs.
#include <filesystem>

#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/document_text.h"
#include "control/durations.h"
#include "control/service_address.h"
#include "control/site_options.h"

namespace istmo::control {

namespace {

struct NounTexts {
  const char* kind;
  const char* lower;
};

NounTexts texts_of(Noun noun) {
  switch (noun) {
    case Noun::site: return {"Site", "site"};
    case Noun::listener: return {"Listener", "listener"};
    case Noun::connector: return {"Connector", "connector"};
  }
  return {"", ""};
}

std::string quoted(const ObjectId& id) { return id.kind + " \"" + id.name + "\""; }

// --- documents from flags ----------------------------------------------------------------------

void apply(const ResourceArguments& wanted, SiteDocument& site) {
  if (wanted.enables_link_access) site.link_access = "default";
  if (!wanted.link_access_type.empty()) site.link_access = wanted.link_access_type;
  if (wanted.enables_ha) site.is_ha = true;
}

Result<> check_ha(const Arguments& arguments) {
  if (!arguments.resource.enables_ha || is_in_cluster(arguments)) return {};
  return Error::config("--enable-ha needs Kubernetes: on a machine a site is one process");
}

template <class D>
void apply_common(const ResourceArguments& wanted, D& document) {
  if (wanted.routing_key) document.routing_key = *wanted.routing_key;
  if (wanted.host) document.host = *wanted.host;
  if (wanted.port) document.port = *wanted.port;
  if (wanted.tls_credentials) document.tls_credentials = *wanted.tls_credentials;
  if (wanted.type) document.type = *wanted.type;
}

std::string service_host_for(const std::string& namespace_name) {
  if (const auto paths = namespace_paths(namespace_name)) {
    const auto options = read_site_options(*paths);
    if (options && !options->service_host.empty()) return options->service_host;
  }
  return service_host_of(namespace_name);
}

Result<Document> new_document(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  switch (wanted.noun) {
    case Noun::site: {
      TRY(check_ha(arguments));
      SiteDocument site;
      site.metadata.name = wanted.name.empty() ? arguments.namespace_name : wanted.name;
      apply(wanted, site);
      return site;
    }
    case Noun::listener: {
      ListenerDocument listener;
      listener.metadata.name = wanted.name;
      listener.routing_key = wanted.name;
      // On this machine a name would have to be in DNS; the namespace's own address always works.
      listener.host =
          is_in_cluster(arguments) ? wanted.name : service_host_for(arguments.namespace_name);
      apply_common(wanted, listener);
      return listener;
    }
    case Noun::connector: {
      if (wanted.selector && !is_in_cluster(arguments)) {
        return Error::config("--selector needs Kubernetes; name the workload by --host");
      }
      if (wanted.selector && wanted.host) {
        return Error::config("--selector and --host exclude each other");
      }
      ConnectorDocument connector;
      connector.metadata.name = wanted.name;
      connector.routing_key = wanted.name;
      // As in v2: the pods of a Deployment of this name, or this machine.
      if (!is_in_cluster(arguments)) connector.host = "localhost";
      else if (!wanted.host) connector.selector = wanted.selector.value_or("app=" + wanted.name);
      apply_common(wanted, connector);
      return connector;
    }
  }
  return Error::internal("unknown resource");
}

// --- waiting -----------------------------------------------------------------------------------

// Until the running site has configured the document, or says what is wrong with it.
Result<> wait_configured(const CommandSite& site, const Document& document,
                         const ResourceArguments& wanted) {
  if (wanted.wait == "none") return {};
  const Duration patience = TRY(parse_duration(wanted.timeout));
  TRY(site.wait_applied(document, patience));
  const bool needs_ready = wanted.wait == "ready";
  const Value seen = TRY(site.wait_for(id_of(document), patience, [&](const Value& found) {
    if (text_at(found, "status", "status") == "Error") return true;
    return has_condition(found, needs_ready ? "Ready" : "Configured");
  }));
  if (text_at(seen, "status", "status") != "Error") return {};
  return Error::config(quoted(id_of(document)) + ": " + text_at(seen, "status", "message"));
}

// --- tables ------------------------------------------------------------------------------------

std::vector<std::string> header_of(Noun noun) {
  switch (noun) {
    case Noun::site: return {"NAME", "STATUS", "MESSAGE"};
    case Noun::listener:
      return {"NAME", "STATUS", "ROUTING-KEY", "HOST", "PORT", "MATCHING-CONNECTOR", "MESSAGE"};
    case Noun::connector:
      return {"NAME", "STATUS", "ROUTING-KEY",           "SELECTOR",
              "HOST", "PORT",   "HAS MATCHING LISTENER", "MESSAGE"};
  }
  return {};
}

const std::string& flag_at(const Value& document, std::string_view key) {
  static const std::string kFalse = "false";
  const std::string& text = text_at(document, "status", key);
  return text.empty() ? kFalse : text;
}

std::vector<std::string> row_of(Noun noun, const Value& document) {
  const std::string& name = text_at(document, "metadata", "name");
  const std::string& status = text_at(document, "status", "status");
  const std::string& message = text_at(document, "status", "message");
  const auto spec = [&](std::string_view key) { return text_at(document, "spec", key); };
  switch (noun) {
    case Noun::site: return {name, status, message};
    case Noun::listener:
      return {name,         status,       spec("routingKey"),
              spec("host"), spec("port"), flag_at(document, "hasMatchingConnector"),
              message};
    case Noun::connector:
      return {name,
              status,
              spec("routingKey"),
              spec("selector"),
              spec("host"),
              spec("port"),
              flag_at(document, "hasMatchingListener"),
              message};
  }
  return {};
}

std::string none_text(Noun noun) {
  if (noun == Noun::site) return "There is no existing Istmo site resource\n";
  return std::string("There are no ") + texts_of(noun).lower + " resources in the namespace\n";
}

std::string shown_text(const Arguments& arguments, const std::vector<Value>& documents) {
  const bool is_one = !arguments.resource.name.empty();
  if (arguments.output != Output::text) {
    return is_one ? document_text(documents.front(), arguments.output)
                  : list_text(documents, arguments.output);
  }
  const Noun noun = arguments.resource.noun;
  if (documents.empty()) return none_text(noun);
  if (is_one) return Table::vertical(header_of(noun), row_of(noun, documents.front()));
  Table table(header_of(noun));
  for (const Value& document : documents) table.add(row_of(noun, document));
  return table.text();
}

// --- the site ----------------------------------------------------------------------------------

Result<int> create_site(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  if (is_in_cluster(arguments)) return create_cluster_site(arguments);
  TRY(check_ha(arguments));
  const LocalSite site = TRY(LocalSite::at(arguments.namespace_name));
  if (TRY(site.documents()).site() != nullptr) {
    return Error::config("There is already a site created for this namespace");
  }
  SiteDocument document;
  document.metadata.name = wanted.name;
  apply(wanted, document);
  TRY(check_document(document));
  if (wanted.wait != "none") print("Waiting for status...\n");
  TRY(make_site(arguments, {.site_name = wanted.name,
                            .link_access = document.link_access,
                            .ingress = "",
                            .timeout = wanted.timeout}));
  if (wanted.wait != "none") {
    const Duration patience = TRY(parse_duration(wanted.timeout));
    TRY(site.wait_for({"Site", wanted.name}, patience, [&](const Value& found) {
      return has_condition(found, wanted.wait == "configured" ? "Configured" : "Ready");
    }));
  }
  print("Site \"" + wanted.name + "\" is ready.\n");
  return kExitDone;
}

// The name may be left out: there is one site in a namespace.
Result<SiteDocument> existing_site(const CommandSite& site, const std::string& name) {
  const Desired documents = TRY(site.documents());
  const SiteDocument* found = documents.site();
  if (found == nullptr) return Error::config("There is no existing Istmo site resource");
  if (!name.empty() && found->name() != name) {
    return Error::config("there is no site '" + name + "' in this namespace; it is called '" +
                         found->name() + "'");
  }
  return *found;
}

Result<int> update_site(const Arguments& arguments) {
  TRY(check_ha(arguments));
  const auto site = TRY(open_site_to_change(arguments));
  SiteDocument document = TRY(existing_site(*site, arguments.resource.name));
  apply(arguments.resource, document);
  TRY(check_document(document));
  TRY(site->check_takes_changes());
  TRY(site->write(document));
  if (arguments.resource.enables_ha) TRY(scale_cluster_site(arguments));
  TRY(wait_configured(*site, document, arguments.resource));
  print("Site \"" + document.name() + "\" is updated\n");
  return kExitDone;
}

// The process ends and the Site goes; other documents stay unless --all.
Result<int> delete_site_resource(const Arguments& arguments) {
  if (is_in_cluster(arguments)) {
    const auto handle = TRY(open_site_to_change(arguments));
    const SiteDocument document = TRY(existing_site(*handle, arguments.resource.name));
    TRY(remove_cluster_site(arguments,
                            arguments.resource.all ? OtherDocuments::go : OtherDocuments::stay));
    print("Site \"" + document.name() + "\" is deleted\n");
    return kExitDone;
  }
  const LocalSite site = TRY(LocalSite::open_to_change(arguments));
  const FileLock lock = TRY(site.lock());
  const SiteDocument document = TRY(existing_site(site, arguments.resource.name));
  TRY(end_site(site.namespace_name()));
  if (arguments.resource.all || TRY(site.documents()).all().size() == 1) {
    TRY(remove_site_folders(site.paths()));
  } else {
    TRY(site.remove(id_of(document)));
    std::error_code ignored;
    std::filesystem::remove(site.paths().platform_file(), ignored);
  }
  print("Site \"" + document.name() + "\" is deleted\n");
  return kExitDone;
}

Result<bool> is_installed(const Arguments& arguments) {
  const auto site = TRY(site_of(arguments));
  return site->is_installed();
}

}  // namespace

Result<int> create_resource(const Arguments& arguments) {
  if (arguments.resource.noun == Noun::site) return create_site(arguments);
  const auto site = TRY(open_site_to_change(arguments));
  const Document document = TRY(new_document(arguments));
  TRY(check_document(document));
  const ObjectId id = id_of(document);
  if (TRY(site->find(id))) {
    return Error::config("there is already a " +
                         std::string(texts_of(arguments.resource.noun).lower) + " '" + id.name +
                         "' in this namespace");
  }
  TRY(site->check_takes_changes());
  TRY(site->write(document));
  if (arguments.resource.wait != "none") print("Waiting for create to complete...\n");
  Result<> configured = wait_configured(*site, document, arguments.resource);
  // What is wrong is taken back; what only takes long stays.
  if (!configured && configured.error().error_class() == ErrorClass::config) TRY(site->remove(id));
  TRY(std::move(configured));
  print(quoted(id) + " is configured.\n");
  return kExitDone;
}

Result<int> update_resource(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  if (wanted.noun == Noun::site) return update_site(arguments);
  const auto site = TRY(open_site_to_change(arguments));
  const ObjectId id{texts_of(wanted.noun).kind, wanted.name};
  std::optional<Document> document = TRY(site->find(id));
  if (!document) return Error::config("there is no " + quoted(id) + " to update");
  if (auto* listener = std::get_if<ListenerDocument>(&*document)) apply_common(wanted, *listener);
  if (auto* connector = std::get_if<ConnectorDocument>(&*document)) {
    if (wanted.selector) connector->selector = *wanted.selector;
    apply_common(wanted, *connector);
  }
  TRY(check_document(*document));
  TRY(site->check_takes_changes());
  TRY(site->write(*document));
  if (wanted.wait != "none") print("Waiting for update to complete...\n");
  TRY(wait_configured(*site, *document, wanted));
  print(quoted(id) + " is updated.\n");
  return kExitDone;
}

Result<int> show_resources(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  if (wanted.noun == Noun::site && !TRY(is_installed(arguments))) {
    print(arguments.output == Output::text ? none_text(Noun::site)
                                           : list_text({}, arguments.output));
    return kExitDone;
  }
  const auto site = TRY(open_site(arguments));
  std::vector<Value> documents = TRY(site->documents_with_status(texts_of(wanted.noun).kind));
  if (!wanted.name.empty()) {
    std::erase_if(documents, [&](const Value& document) {
      return text_at(document, "metadata", "name") != wanted.name;
    });
    if (documents.empty()) {
      return Error::config("there is no " + quoted({texts_of(wanted.noun).kind, wanted.name}));
    }
  }
  print(shown_text(arguments, documents));
  return exit_code_of_showing(*site);
}

Result<int> delete_resource(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  if (wanted.noun == Noun::site) return delete_site_resource(arguments);
  const auto site = TRY(open_site_to_change(arguments));
  const ObjectId id{texts_of(wanted.noun).kind, wanted.name};
  TRY(site->remove(id));
  if (wanted.wait != "none" && site->check_runs()) {
    const Duration patience = TRY(parse_duration(wanted.timeout));
    TRY(site->wait_gone(id, patience));
  }
  print(quoted(id) + " is deleted\n");
  return kExitDone;
}

Result<int> generate_resource(const Arguments& arguments) {
  const Document document = TRY(new_document(arguments));
  TRY(check_document(document));
  const Format format = arguments.output == Output::json ? Format::json : Format::yaml;
  print(write_document(document, format));
  return kExitDone;
}

}  // namespace istmo::control
