// One address that serves a routing key at this site, as one worker sees it.
//
// After kFailuresMax refusals in a row it is set aside: no exchange goes there while another
// backend is usable. It is probed with a bare connect after 1 s, then at doubling intervals up to
// 30 s, and comes back when a connect succeeds.
//
// Owned by the Worker; when its connector no longer names it, it is retired and freed with its last
// tunnel and its last operation.
#pragma once

#include <string>

#include "base/list.h"
#include "base/result.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/process_state.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/proxy/tunnel.h"

namespace istmo::proxy {

class Backend {
 public:
  // `index`: of the address in `config`.
  Backend(Worker& worker, uint64_t id, const ConnectorConfig& config, size_t index);
  ~Backend();

  uint64_t id() const { return id_; }
  const std::string& connector() const { return connector_; }
  const std::string& routing_key() const { return routing_key_; }
  const io::Address& address() const { return address_; }
  // For people: "10.0.0.7:5432", with the pod's name behind it if it is one.
  std::string title() const;
  const TcpSettings& settings() const { return settings_; }
  uint32_t streams_open() const { return streams_open_; }
  bool is_set_aside() const { return is_set_aside_; }
  bool is_retired() const { return is_retired_; }
  bool can_be_freed() const;

  void update(const ConnectorConfig& config, size_t index);
  // No further exchange comes here; those that are open go on.
  void retire();
  // The Connector document was deleted: with dropTcpConnections its exchanges end now.
  void on_document_gone();
  void end_all(CloseReason reason);

  void add(Tunnel& tunnel);  // an exchange chose this backend
  void leave();              // it is over, or the attempt failed
  // Octets of an exchange that is over.
  void count(uint64_t bytes_in, uint64_t bytes_out);
  void on_connected();
  void on_failed(int error_number);
  BackendReport report() const;

 private:
  static constexpr uint32_t kFailuresMax = 3;
  static constexpr Duration kProbeFirst = Duration::seconds(1);
  static constexpr Duration kProbeLast = Duration::seconds(30);

  void tell(const std::string& error) const;
  void probe();
  void on_probed(io::Completion&& done);
  void on_probe_timer();

  Worker& worker_;
  uint64_t id_;
  std::string connector_;
  std::string routing_key_;
  io::Address address_;
  std::string pod_;  // its name; empty: it is none
  TcpSettings settings_;
  bool drops_connections_;
  ConnectorCounters& counters_;
  bool is_set_aside_ = false;
  bool is_retired_ = false;
  uint32_t streams_open_ = 0;
  uint32_t failures_in_a_row_ = 0;
  uint64_t streams_total_ = 0;
  uint64_t failures_total_ = 0;
  Duration probe_interval_ = kProbeFirst;
  List<Tunnel, TunnelsOfBackend> tunnels_;
  io::OpOf<Backend, &Backend::on_probed> probe_op_{*this};
  io::TimerOf<Backend, &Backend::on_probe_timer> probe_timer_{*this};
};

}  // namespace istmo::proxy
