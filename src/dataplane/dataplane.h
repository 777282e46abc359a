// The data plane as the control thread sees it: start, publish, ask, drain, stop.
//
// Owned by the control thread; starts one thread per worker, each with its own Loop. All methods
// are called on the control thread. Answers come to the sink as letters on the control loop.
// stop() ends every connection and joins the threads; the destructor calls it. It turns the control
// loop meanwhile, so it must not be called from a handler of that loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/replica.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/transport/key_log.h"

namespace istmo {

// Called on the control loop's thread, from its turns.
class DataplaneSink {
 public:
  // Every worker runs snapshot `generation`; `problems` is what it could not do (empty: all
  // listeners are bound). The previous snapshot is freed.
  virtual void on_published(uint64_t generation, std::vector<proxy::Problem> problems) = 0;
  virtual void on_link_changed(const proxy::LinkChange& change) = 0;
  virtual void on_backend_changed(const proxy::BackendChange& change) = 0;
  // A mesh message of a neighbour: what control/mesh of the other site sent. An Error: it breaks a
  // rule, and the link ends with that reason.
  virtual Result<> on_mesh_message(const proxy::Replica& replica, std::string message) = 0;
  // The neighbour can be sent mesh messages from now on (also after every reconnection).
  virtual void on_mesh_open(const proxy::Replica& replica) = 0;
  virtual void on_mesh_closed(const proxy::Replica& replica) = 0;
  // Answer to request_reports(): one per worker, in worker order.
  virtual void on_reports(uint64_t request, std::vector<proxy::WorkerReport> reports) = 0;
  // drain(): no exchange is left, or the deadline passed and the rest, `cut`, was ended.
  virtual void on_drained(uint64_t cut) = 0;

 protected:
  ~DataplaneSink() = default;
};

struct DataplaneOptions {
  uint32_t workers = 1;
  std::string replica;  // what neighbours know this process by
  io::LoopChoice loop;
  io::LoopOptions loop_options;
  const transport::KeyLog* key_log = nullptr;  // outlives the data plane; nullptr: none
};

class Dataplane {
 public:
  static Result<std::unique_ptr<Dataplane>> start(const DataplaneOptions& options,
                                                  io::Loop& control_loop, DataplaneSink& sink);
  ~Dataplane();

  void publish(std::unique_ptr<proxy::Snapshot> snapshot);
  void request_reports(uint64_t request, bool with_connections);
  // Those that have not answered yet; none: it is answered, or was never asked.
  std::vector<uint32_t> silent_workers(uint64_t request) const;
  // Of every connector that there was.
  std::vector<proxy::ConnectorReport> connector_reports() const;
  // 1..codec::kMeshMessageBytesMax octets, all that there is to say: the next message replaces one
  // that has not begun to leave. Dropped when no mesh channel to that replica is open.
  void send_mesh(const proxy::Replica& replica, std::string message);
  // That process of a neighbour ends soon, and its site does not: exchanges go elsewhere, and links
  // that we made to it are made anew.
  void leave(const proxy::Replica& replica);
  // Ends one exchange (ConnectionReport::id) with a reset; unknown ids are ignored.
  void delete_connection(uint64_t id);
  // Stops listening, lets exchanges end until `timeout`, then ends the rest and the links.
  void drain(Duration timeout);
  void stop();

 private:
  class State;
  explicit Dataplane(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace istmo
