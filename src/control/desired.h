// The documents as their author wrote them: one plain struct per kind of skupper.io/v2alpha1, and
// the core v1 Secret. Values only; nothing is resolved or decided here (compile.h does that).
//
// What Istmo adds to Skupper's documents is in `settings`, see settings.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

// Where a document was written. `file` is empty for documents that Istmo made itself.
struct Origin {
  std::string file;
  int line = 0;
  int column = 0;
  std::string to_string() const;  // "site.yaml:12", or "" when made by us
  friend auto operator<=>(const Origin&, const Origin&) = default;
};

struct Metadata {
  std::string name;  // RFC 1123 subdomain
  std::string namespace_name;
  std::string uid;
  uint64_t generation = 0;  // of its spec, where an API server counts them
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  friend bool operator==(const Metadata&, const Metadata&) = default;
};

using Settings = std::map<std::string, std::string>;

// What every document has.
struct DocumentBase {
  Origin origin;
  Metadata metadata;
  Settings settings;
  const std::string& name() const { return metadata.name; }
  friend bool operator==(const DocumentBase&, const DocumentBase&) = default;
};

// What `ha` of a Site means in a cluster.
inline constexpr uint32_t kHaReplicas = 2;

struct SiteDocument : DocumentBase {
  static constexpr std::string_view kKind = "Site";
  std::string service_account;
  std::string link_access;  // "" and "none": other sites cannot link to this one
  std::string default_issuer;
  bool is_edge = false;
  bool is_ha = false;
  bool accepts_links() const { return !link_access.empty() && link_access != "none"; }
  friend bool operator==(const SiteDocument&, const SiteDocument&) = default;
};

struct LinkEndpoint {
  std::string name;  // "inter-router" or "edge"
  std::string host;
  uint16_t port = 0;
  std::string group;
  friend bool operator==(const LinkEndpoint&, const LinkEndpoint&) = default;
};

struct LinkDocument : DocumentBase {
  static constexpr std::string_view kKind = "Link";
  std::vector<LinkEndpoint> endpoints;
  std::string tls_credentials;  // name of a Secret with ca.crt, tls.crt, tls.key
  uint32_t cost = 1;
  friend bool operator==(const LinkDocument&, const LinkDocument&) = default;
};

struct ListenerDocument : DocumentBase {
  static constexpr std::string_view kKind = "Listener";
  std::string routing_key;
  std::string host;
  uint16_t port = 0;
  std::string tls_credentials;
  std::string type;      // "" is "tcp"
  std::string observer;  // "", "auto", "none", "http1", "http2"
  bool exposes_pods_by_name = false;
  friend bool operator==(const ListenerDocument&, const ListenerDocument&) = default;
};

// Several routing keys behind one host and port. The choice is as the workers take it.
struct MultiKeyListenerDocument : DocumentBase {
  static constexpr std::string_view kKind = "MultiKeyListener";
  std::string host;
  uint16_t port = 0;
  proxy::KeyChoice choice;  // by weight: sorted by key
  std::string tls_credentials;
  bool requires_client_certificate = false;
  std::string observer;  // as Listener's
  friend bool operator==(const MultiKeyListenerDocument&,
                         const MultiKeyListenerDocument&) = default;
};

// Of a Connector that an annotation of a workload stands for: how its author asked for it.
inline constexpr const char* kProxyAnnotation = "skupper.io/proxy";

struct ConnectorDocument : DocumentBase {
  static constexpr std::string_view kKind = "Connector";
  std::string routing_key;
  std::string host;  // exactly one of host and selector
  std::string selector;
  uint16_t port = 0;
  std::string tls_credentials;
  std::string type;  // "" is "tcp"
  bool uses_client_certificate = false;
  bool verifies_hostname = false;
  bool exposes_pods_by_name = false;
  bool includes_not_ready_pods = false;
  friend bool operator==(const ConnectorDocument&, const ConnectorDocument&) = default;
};

// In the namespace of the workload, which has no site of its own.
struct AttachedConnectorDocument : DocumentBase {
  static constexpr std::string_view kKind = "AttachedConnector";
  std::string site_namespace;
  std::string selector;
  uint16_t port = 0;
  std::string tls_credentials;
  std::string type;  // "" is "tcp"
  bool uses_client_certificate = false;
  bool includes_not_ready_pods = false;
  friend bool operator==(const AttachedConnectorDocument&,
                         const AttachedConnectorDocument&) = default;
};

// In the namespace of the site: takes the AttachedConnector of its name there.
struct AttachedConnectorBindingDocument : DocumentBase {
  static constexpr std::string_view kKind = "AttachedConnectorBinding";
  std::string connector_namespace;
  std::string routing_key;
  bool exposes_pods_by_name = false;
  friend bool operator==(const AttachedConnectorBindingDocument&,
                         const AttachedConnectorBindingDocument&) = default;
};

struct AccessGrantDocument : DocumentBase {
  static constexpr std::string_view kKind = "AccessGrant";
  uint32_t redemptions_allowed = 1;
  std::optional<Duration> expiration_window;  // none: the default of 15 minutes
  std::string code;                           // empty: a random one is made
  std::string issuer;
  friend bool operator==(const AccessGrantDocument&, const AccessGrantDocument&) = default;
};

struct AccessTokenDocument : DocumentBase {
  static constexpr std::string_view kKind = "AccessToken";
  std::string url;
  std::string code;
  std::string ca;  // PEM
  std::optional<uint32_t> link_cost;
  friend bool operator==(const AccessTokenDocument&, const AccessTokenDocument&) = default;
};

struct RouterAccessRole {
  std::string name;   // "inter-router" or "edge"
  uint16_t port = 0;  // 0: the first free one from 55671 (edge: 45671)
  friend bool operator==(const RouterAccessRole&, const RouterAccessRole&) = default;
};

struct RouterAccessDocument : DocumentBase {
  static constexpr std::string_view kKind = "RouterAccess";
  std::vector<RouterAccessRole> roles;
  std::string tls_credentials;
  bool generates_tls_credentials = false;
  std::string issuer;
  std::string access_type;
  std::string bind_host;  // empty: every address of the machine
  std::vector<std::string> subject_alternative_names;
  friend bool operator==(const RouterAccessDocument&, const RouterAccessDocument&) = default;
};

struct CertificateDocument : DocumentBase {
  static constexpr std::string_view kKind = "Certificate";
  std::string ca;
  std::string subject;
  std::vector<std::string> hosts;
  bool is_client = false;
  bool is_server = false;
  bool is_signing = false;
  friend bool operator==(const CertificateDocument&, const CertificateDocument&) = default;
};

struct SecretDocument : DocumentBase {
  static constexpr std::string_view kKind = "Secret";
  std::string type;                         // "kubernetes.io/tls", "Opaque"
  std::map<std::string, std::string> data;  // decoded: "tls.crt" -> PEM
  friend bool operator==(const SecretDocument&, const SecretDocument&) = default;
};

using Document =
    std::variant<SiteDocument, LinkDocument, ListenerDocument, MultiKeyListenerDocument,
                 ConnectorDocument, AttachedConnectorDocument, AttachedConnectorBindingDocument,
                 AccessGrantDocument, AccessTokenDocument, RouterAccessDocument,
                 CertificateDocument, SecretDocument>;

std::string_view kind_of(const Document& document);
const DocumentBase& base_of(const Document& document);
DocumentBase& base_of(Document& document);

// Names an object of this site.
struct ObjectId {
  std::string kind;
  std::string name;
  friend auto operator<=>(const ObjectId&, const ObjectId&) = default;
};
ObjectId id_of(const Document& document);

template <class D>
using DocumentMap = std::map<std::string, D>;

// Everything that should be, by kind and name.
struct Desired {
  DocumentMap<SiteDocument> sites;
  DocumentMap<LinkDocument> links;
  DocumentMap<ListenerDocument> listeners;
  DocumentMap<MultiKeyListenerDocument> multi_key_listeners;
  DocumentMap<ConnectorDocument> connectors;
  DocumentMap<AttachedConnectorDocument> attached_connectors;
  DocumentMap<AttachedConnectorBindingDocument> attached_bindings;
  DocumentMap<AccessGrantDocument> grants;
  DocumentMap<AccessTokenDocument> tokens;
  DocumentMap<RouterAccessDocument> router_accesses;
  DocumentMap<CertificateDocument> certificates;
  DocumentMap<SecretDocument> secrets;

  // The site: the first by name, nullptr when there is none (then defaults hold).
  const SiteDocument* site() const { return sites.empty() ? nullptr : &sites.begin()->second; }
  void put(Document document);  // adds or replaces
  void erase(const ObjectId& id);
  std::optional<Document> find(const ObjectId& id) const;
  static bool is_kind(std::string_view kind);
  std::vector<Document> all() const;  // in the order of kinds above, then by name
  friend bool operator==(const Desired&, const Desired&) = default;
};

// Documents that may be there although Desired does not have them.
struct UnreadDocuments {
  bool has_unknown = false;    // something cannot be read: nobody knows what it holds
  std::set<ObjectId> invalid;  // documents with an error that have no last valid version
  bool may_hold(const ObjectId& id) const { return has_unknown || invalid.contains(id); }
};

// waiting: what it names is not there yet, so it stays as it was before.
enum class Severity : uint8_t { warning, waiting, error };
std::string_view to_string(Severity severity);

// Something about a document that its author should know.
struct Problem {
  Severity severity = Severity::error;
  Origin origin;
  ObjectId object;  // kind and name are empty when the text could not be understood that far
  std::string text;
  // "site.yaml:12: error: Listener backend: ..."
  std::string to_string() const;
  friend bool operator==(const Problem&, const Problem&) = default;
};

}  // namespace istmo::control
