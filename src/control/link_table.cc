#include "control/link_table.h"

#include <algorithm>

namespace istmo::control {

void LinkTable::on_link_changed(const proxy::LinkChange& change) {
  const std::pair key{change.link, change.is_incoming ? change.site_id : std::string()};
  Row& row = rows_[key];
  LinkState& state = row.state;
  state.link = change.link;
  state.is_incoming = change.is_incoming;
  if (!change.site_id.empty()) state.site_id = change.site_id;
  if (!change.site_name.empty()) state.site_name = change.site_name;
  if (!change.remote_address.empty()) state.remote_address = change.remote_address;
  state.cost = change.cost;
  if (change.is_open) {
    row.open[change.id] = {change.site_id, change.replica};
    state.error.clear();
  } else {
    row.open.erase(change.id);
    state.error = change.error;
  }
  state.connections_open = static_cast<uint32_t>(row.open.size());
  // Each replica dials as many; what we dial is divided among those of the other site.
  std::set<proxy::Replica> dialers;
  for (const auto& [id, replica] : row.open) dialers.insert(replica);
  const auto replicas = static_cast<uint32_t>(std::max<size_t>(dialers.size(), 1));
  state.connections_wanted = change.connections_wanted * (change.is_incoming ? replicas : 1);
  if (change.is_incoming && row.open.empty()) rows_.erase(key);
}

void LinkTable::keep_only(const std::set<std::string>& link_names) {
  std::erase_if(rows_, [&](const auto& entry) {
    return !entry.second.state.is_incoming && !link_names.contains(entry.first.first);
  });
}

bool LinkTable::is_linked(const proxy::Replica& replica) const {
  return std::ranges::any_of(rows_, [&](const auto& row) {
    return std::ranges::any_of(row.second.open,
                               [&](const auto& open) { return open.second == replica; });
  });
}

std::vector<LinkState> LinkTable::links() const {
  std::vector<LinkState> links;
  for (const auto& [key, row] : rows_) links.push_back(row.state);
  return links;
}

}  // namespace istmo::control
