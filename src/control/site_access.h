// How other sites get in: ports, certificates, grants. Turns AccessGrant and RouterAccess documents
// into an open grant server, chosen ports and issued credentials, and tells what it did in
// Observed.
//
// The grant port is open while a grant can be redeemed. The link port is open while a document
// asks for it, while a grant can be redeemed, and as long as another site holds a certificate that
// is valid: a site that was linked must be able to come back.
//
// Both ports are the first free ones, and remembered. As long as something that others hold names
// such a port (a grant that can be redeemed, a certificate that came with a Link) it does not move:
// taken by somebody else it is an error, and tried again.
//
// Owned by the controller, control thread only; borrows loop and state. close(), then wait for
// is_idle() on the loop, before it is destroyed.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/desired.h"
#include "control/grant_server.h"
#include "control/observed.h"
#include "control/site_state.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

// Called from turns of the loop.
class SiteAccessSink {
 public:
  virtual void on_access_changed() = 0;  // a grant was redeemed, or a name was given

 protected:
  ~SiteAccessSink() = default;
};

struct SiteAccessOptions {
  // What tokens and certificates name on a machine, beside the state's.
  std::vector<std::string> ingress_hosts;
  const transport::KeyLog* key_log = nullptr;
  std::function<WallTime()> clock = &wall_now;
};

class SiteAccess final : private GrantServerSink {
 public:
  SiteAccess(io::Loop& loop, SiteState& state, SiteAccessSink& sink, SiteAccessOptions options);

  // Brings everything in line with `desired` and writes its part of `observed`: credentials,
  // access_ports, is_link_access_asked, grants, endpoints. Call it when documents changed, at
  // next_end(), and once a day.
  void update(const Desired& desired, Observed& observed);
  // When, of what keeps a port open now, the first ends by itself; nothing: nothing does.
  std::optional<WallTime> next_end() const { return next_end_; }
  // Something that documents ask for could not be done: update() again after a while.
  bool has_failed() const { return has_failed_; }
  // Of all grant servers that there were.
  const GrantServerMetrics& grant_metrics() const { return grant_metrics_; }

  // Names that are given here are remembered: from now on, and after a restart, links and the
  // certificates of both ports carry them.
  //
  // For `link generate`: the documents with which another site links to this one. `hosts`: instead
  // of all where it can be reached.
  Result<std::vector<Document>> generate_link(const std::string& name,
                                              const std::vector<std::string>& hosts, uint32_t cost);
  // For `token create`: what the other site needs to redeem a grant. `hosts`: instead of the
  // ingress hosts.
  Result<Document> make_token(const std::string& grant_name, const std::vector<std::string>& hosts);
  // Somebody else has the port of this RouterAccess. Where nobody was told of it the next update()
  // chooses another, and the text is empty. Else the port stays, to be tried again; the text tells
  // what to do about it, to be added to the error.
  std::string on_port_refused(const std::string& access);
  void close();
  bool is_idle() const;

 private:
  void on_grant_redeemed(const Grant& grant) override;
  uint16_t port_for(const RouterAccessDocument& access, const RouterAccessRole& role);
  // Those that somebody chose first: of the Site document, then of tokens.
  void find_ingress(const Desired& desired, const Observed& observed);
  std::vector<std::string> ingress_hosts(IngressUse use) const;
  const IngressAddress* find_ingress(const std::string& host) const;
  uint16_t link_port_at(const std::string& host, uint16_t own_port) const;
  std::vector<LinkAddress> grant_places(const std::vector<std::string>& hosts) const;
  Result<> remember_hosts(std::vector<std::string> hosts, const std::vector<std::string>& known);
  void update_accesses(const Desired& desired, Observed& observed);
  void remove_grants_without_document(const Desired& desired, const Observed& observed);
  void update_ledger(const Desired& desired, Observed& observed);
  void update_grant_server(Observed& observed);
  bool is_redeemable(const Grant& grant) const { return grant.is_wanted && grant.is_open(now_); }
  bool has_redeemable_grant() const;
  bool is_link_port_given() const { return state_.issued_until(now_).has_value(); }
  bool is_grant_port_given() const;
  void find_next_end();
  Result<> open_grant_server();
  Result<> bind_grant_server(GrantServer& server) const;
  void close_grant_server();

  io::Loop& loop_;
  SiteState& state_;
  SiteAccessSink& sink_;
  SiteAccessOptions options_;
  std::map<std::string, uint16_t> ports_;  // chosen in this run, by RouterAccess
  uint16_t next_port_;                     // where the search for a link port begins
  std::set<std::string> grants_seen_;      // AccessGrants that were there in this run
  std::set<std::string> grants_untold_;    // by uid: made in this run, with no URL told yet
  bool has_failed_ = false;
  WallTime now_;  // of the last update()
  std::optional<WallTime> next_end_;
  std::string grant_error_;              // why the grant port is not open; logged once
  std::vector<IngressAddress> ingress_;  // of the last update()
  std::vector<LinkAddress> link_addresses_;
  GrantServerMetrics grant_metrics_;
  std::unique_ptr<GrantServer> grant_server_;
  std::list<std::unique_ptr<GrantServer>> closing_;
};

// The first port from `first` that nobody listens on, on any address.
uint16_t first_free_port(uint16_t first);

}  // namespace istmo::control
