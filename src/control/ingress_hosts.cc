#include "control/ingress_hosts.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "dataplane/io/socket.h"

namespace istmo::control {

namespace {

bool is_reachable_from_outside(const ifaddrs& entry) {
  if (entry.ifa_addr == nullptr || (entry.ifa_flags & IFF_UP) == 0) return false;
  if ((entry.ifa_flags & IFF_LOOPBACK) != 0) return false;
  if (entry.ifa_addr->sa_family == AF_INET) return true;
  if (entry.ifa_addr->sa_family != AF_INET6) return false;
  const auto& address = reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr)->sin6_addr;
  return !IN6_IS_ADDR_LINKLOCAL(&address) && !IN6_IS_ADDR_LOOPBACK(&address);
}

bool contains(const std::vector<std::string>& hosts, const std::string& host) {
  return std::ranges::find(hosts, host) != hosts.end();
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

}  // namespace

std::vector<std::string> default_ingress_hosts() {
  std::vector<std::string> hosts;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) == 0) {
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (!is_reachable_from_outside(*entry)) continue;
      const socklen_t size =
          entry->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      hosts.push_back(io::Address::from_sockaddr(entry->ifa_addr, size).host());
    }
    ::freeifaddrs(list);
  }
  // IPv4 first: what most machines can reach.
  std::ranges::stable_partition(hosts, [](const auto& host) { return !host.contains(':'); });
  hosts.push_back("127.0.0.1");
  return hosts;
}

void add_missing_hosts(std::vector<std::string>& hosts, const std::vector<std::string>& more) {
  for (const std::string& host : more) {
    if (!contains(hosts, host)) hosts.push_back(host);
  }
}

std::vector<std::string> hosts_of_access(const RouterAccessDocument& access,
                                         const std::vector<std::string>& ingress_hosts,
                                         const std::vector<std::string>& own_addresses) {
  std::vector<std::string> hosts;
  add_missing_hosts(hosts, access.subject_alternative_names);
  const auto bound = io::Address::parse(access.bind_host, 0);
  const std::string bind_host = bound ? bound->host() : access.bind_host;
  const bool is_any_v4 = bind_host == "0.0.0.0";
  const bool is_any_v6 = bind_host == "::";  // the link port takes IPv6 alone then
  const bool is_any = bind_host.empty() || is_any_v4 || is_any_v6;
  if (!is_any) add_missing_hosts(hosts, {bind_host});
  for (const std::string& host : ingress_hosts) {
    const auto address = io::Address::parse(host, 0);
    if (!address || bind_host.empty()) {
      add_missing_hosts(hosts, {host});
      continue;
    }
    const std::string text = address->host();
    const bool is_own = is_loopback(text) || contains(own_addresses, text);
    const bool is_family_bound = address->family() == AF_INET ? !is_any_v6 : !is_any_v4;
    if (is_any ? is_family_bound : !is_own) add_missing_hosts(hosts, {host});
  }
  if (hosts.empty()) hosts.push_back(is_any_v6 ? "::1" : "127.0.0.1");
  return hosts;
}

}  // namespace istmo::control
