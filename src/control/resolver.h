// Host names to addresses on the control loop, with c-ares: A and AAAA, /etc/hosts and search
// domains honoured, TTLs kept. The only home of <ares.h> is resolver.cc.
//
// Owned by the controller, control thread only; borrows its loop and sink. The caller names the
// set of hosts it needs; the resolver keeps their addresses fresh and tells every change.
// stop(), then wait for is_idle() on the loop, before it is destroyed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/observed.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

// Called on the control loop's thread, never from inside watch().
class ResolverSink {
 public:
  // The addresses or the error of `host` changed.
  virtual void on_host_resolved(const std::string& host, const HostAddresses& addresses) = 0;

 protected:
  ~ResolverSink() = default;
};

struct ResolverOptions {
  std::string resolv_conf = "/etc/resolv.conf";  // servers, search domains, options
  std::vector<std::string> servers;              // "127.0.0.1:5353"; empty: those of resolv_conf
  Duration ttl_min = Duration::seconds(1);
  Duration ttl_max = Duration::seconds(300);
  Duration retry_first = Duration::seconds(1);  // after a failure; doubles up to retry_max
  Duration retry_max = Duration::seconds(30);
  Duration query_timeout = Duration::seconds(2);  // of one try
  int tries = 3;
};

class Resolver {
 public:
  static Result<std::unique_ptr<Resolver>> make(io::Loop& loop, ResolverSink& sink,
                                                const ResolverOptions& options);
  ~Resolver();

  // The hosts wanted from now on. New ones are asked at once, others are forgotten.
  void watch(const std::set<std::string>& hosts);
  const std::map<std::string, HostAddresses>& hosts() const;
  // Not from inside the sink's call.
  void stop();
  bool is_idle() const;

 private:
  class State;
  explicit Resolver(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// For commands: the system's resolver, which the caller waits for. Empty: the host is not known.
std::vector<std::string> resolve_blocking(const std::string& host);

}  // namespace istmo::control
