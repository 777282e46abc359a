// The site's side of the admin socket (admin.h tells the protocol).
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "control/admin.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

inline constexpr size_t kAdminClientsMax = 64;

struct AdminAnswer {
  std::vector<Value> items;
  std::string error;  // empty: done
};

// Names a request that waits for its answer.
struct AdminRequestId {
  uint64_t number = 0;
  friend auto operator<=>(AdminRequestId, AdminRequestId) = default;
};

// Called on the control loop's thread.
class AdminSink {
 public:
  // Answer with AdminServer::answer(), now or later, exactly once.
  virtual void on_admin_request(AdminRequestId id, const Value& request) = 0;

 protected:
  ~AdminSink() = default;
};

// The site's side. Owned by the controller, control thread only. Uses only readiness from the
// loop, so that it works on every kind of it. stop(), then wait for is_idle() on the loop.
class AdminServer {
 public:
  AdminServer(io::Loop& loop, AdminSink& sink);
  ~AdminServer();
  // A socket file that nobody listens on any more is replaced. Mode 0600.
  Result<> listen(const AdminAddress& address);
  void answer(AdminRequestId id, const AdminAnswer& answer);
  void stop();
  bool is_idle() const { return accept_op_.is_idle() && clients_.empty(); }

 private:
  class Client;
  void on_acceptable(io::Completion&& done);
  void accept_all();
  void remove_closed();

  io::Loop& loop_;
  AdminSink& sink_;
  AdminAddress address_;
  io::Fd listener_;
  io::OpOf<AdminServer, &AdminServer::on_acceptable> accept_op_{*this};
  io::DeferredOf<AdminServer, &AdminServer::remove_closed> sweep_{*this};
  std::list<std::unique_ptr<Client>> clients_;
  uint64_t next_request_ = 1;
  bool is_stopping_ = false;
};

}  // namespace istmo::control
