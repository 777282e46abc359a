#include "control/desired.h"

#include "base/assert.h"

namespace istmo::control {
namespace {

// The map of Desired that holds documents of type D.
template <class D, class AnyDesired>
auto& map_of(AnyDesired& desired) {
  if constexpr (std::is_same_v<D, SiteDocument>) return desired.sites;
  else if constexpr (std::is_same_v<D, LinkDocument>) return desired.links;
  else if constexpr (std::is_same_v<D, ListenerDocument>) return desired.listeners;
  else if constexpr (std::is_same_v<D, MultiKeyListenerDocument>)
    return desired.multi_key_listeners;
  else if constexpr (std::is_same_v<D, ConnectorDocument>) return desired.connectors;
  else if constexpr (std::is_same_v<D, AttachedConnectorDocument>)
    return desired.attached_connectors;
  else if constexpr (std::is_same_v<D, AttachedConnectorBindingDocument>)
    return desired.attached_bindings;
  else if constexpr (std::is_same_v<D, AccessGrantDocument>) return desired.grants;
  else if constexpr (std::is_same_v<D, AccessTokenDocument>) return desired.tokens;
  else if constexpr (std::is_same_v<D, RouterAccessDocument>) return desired.router_accesses;
  else if constexpr (std::is_same_v<D, CertificateDocument>) return desired.certificates;
  else return desired.secrets;
}

// Calls visit(D's map) for every kind, in the order of Document's alternatives.
template <class AnyDesired, class Visit, size_t... kIndex>
void for_each_map(AnyDesired& desired, Visit&& visit, std::index_sequence<kIndex...>) {
  (visit(std::variant_alternative_t<kIndex, Document>::kKind,
         map_of<std::variant_alternative_t<kIndex, Document>>(desired)),
   ...);
}
constexpr auto kAllKinds = std::make_index_sequence<std::variant_size_v<Document>>{};

}  // namespace

std::string Origin::to_string() const {
  if (file.empty()) return "";
  return line > 0 ? file + ":" + std::to_string(line) : file;
}

std::string_view kind_of(const Document& document) {
  return std::visit([](const auto& d) { return std::decay_t<decltype(d)>::kKind; }, document);
}

const DocumentBase& base_of(const Document& document) {
  return std::visit([](const auto& d) -> const DocumentBase& { return d; }, document);
}

DocumentBase& base_of(Document& document) {
  return std::visit([](auto& d) -> DocumentBase& { return d; }, document);
}

ObjectId id_of(const Document& document) {
  return {std::string(kind_of(document)), base_of(document).name()};
}

void Desired::put(Document document) {
  std::visit(
      [this](auto&& d) {
        using D = std::decay_t<decltype(d)>;
        std::string name = d.name();
        map_of<D>(*this).insert_or_assign(std::move(name), std::move(d));
      },
      std::move(document));
}

void Desired::erase(const ObjectId& id) {
  for_each_map(
      *this,
      [&](std::string_view kind, auto& map) {
        if (kind == id.kind) map.erase(id.name);
      },
      kAllKinds);
}

std::optional<Document> Desired::find(const ObjectId& id) const {
  std::optional<Document> found;
  for_each_map(
      *this,
      [&](std::string_view kind, const auto& map) {
        if (kind != id.kind) return;
        if (const auto it = map.find(id.name); it != map.end()) found = it->second;
      },
      kAllKinds);
  return found;
}

bool Desired::is_kind(std::string_view kind) {
  bool is_known = false;
  const Desired none;
  for_each_map(
      none, [&](std::string_view known, const auto&) { is_known |= known == kind; }, kAllKinds);
  return is_known;
}

std::vector<Document> Desired::all() const {
  std::vector<Document> documents;
  for_each_map(
      *this,
      [&](std::string_view, const auto& map) {
        for (const auto& [name, document] : map) documents.emplace_back(document);
      },
      kAllKinds);
  return documents;
}

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::warning: return "warning";
    case Severity::waiting: return "waiting";
    case Severity::error: return "error";
  }
  return "?";
}

std::string Problem::to_string() const {
  std::string line = origin.to_string();
  if (!line.empty()) line += ": ";
  line.append(control::to_string(severity)).append(": ");
  if (!object.kind.empty()) line += object.kind + " ";
  if (!object.name.empty()) line += object.name;
  if (!object.kind.empty()) line += ": ";
  return line + text;
}

}  // namespace istmo::control
