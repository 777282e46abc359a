// Documents from a namespace of a cluster: what its labelled ConfigMaps and Secrets hold, the
// Secrets that these documents name (never all of a namespace's), the Connectors that annotations
// stand for, and objects of skupper.io where these kinds are installed.
//
// Owned by the Kubernetes platform, control thread only; borrows loop, server, sink, generator and
// statuses, which are told of the objects that can have one. What cannot
// be watched is told once, in the log and in the state; what was read before stands. Changes are
// told at a pace (NewsPace): each one means to look at all documents.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/api_server.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/custom_status_writer.h"
#include "control/kubernetes/watched_collection.h"
#include "control/news_pace.h"
#include "control/site_platform.h"

namespace istmo::control {

class KubernetesSource final : public DocumentSource {
 public:
  KubernetesSource(io::Loop& loop, ApiServer& server, PlatformSink& sink, Rng& rng,
                   CustomStatusWriter& custom_statuses);
  ~KubernetesSource() override;

  void start() override;
  bool is_complete() const override;
  const SourceState& state() const override { return documents_.state(); }
  void stop() override;
  bool is_idle() const override;

  // The object that holds this file (an Origin's), to own what is made for its documents.
  std::optional<ObjectOwner> owner_of(const std::string& file) const {
    return documents_.owner_of(file);
  }
  // Documents may be objects of their own kind here, as far as is known.
  bool has_custom_kinds() const { return has_custom_kinds_; }
  // The Secrets that documents refer to now, all of them; they are watched one by one.
  void follow_secrets(const std::set<std::string>& names);
  // Of the watch of all Services, which somebody else has.
  void on_service(const Value& service);
  void on_service_gone(const std::string& name);
  // That the gateway's Deployment is to have, which is among the workloads; 0: there is none.
  uint32_t gateway_replicas() const { return gateway_replicas_; }

 private:
  class Watch;
  void find_custom_kinds();
  void look_again_for_custom_kinds();
  void on_kinds_found(const ApiReply& reply);
  void watch_custom_kinds();
  void on_gateway(uint32_t replicas);
  void on_changed();
  void tell();

  io::Loop& loop_;
  ApiServer& server_;
  PlatformSink& sink_;
  Rng& rng_;
  CustomStatusWriter& custom_statuses_;
  ClusterDocuments documents_;
  std::vector<std::unique_ptr<Watch>> watches_;  // by label, of workloads, of kinds of documents
  ApiCalls discovery_;
  std::vector<std::string> served_kinds_;  // of documents
  bool has_discovered_ = false;
  bool has_custom_kinds_ = false;  // and they may be read
  Backoff discovery_backoff_{ListWatch::kBackoffMin, ListWatch::kBackoffMax};
  std::map<std::string, std::unique_ptr<Watch>> secrets_;  // by name
  std::vector<std::unique_ptr<Watch>> ending_;
  uint32_t gateway_replicas_ = 0;
  bool is_stopped_ = false;
  NewsPace pace_;
  io::DeferredOf<KubernetesSource, &KubernetesSource::tell> tell_{*this};
  io::TimerOf<KubernetesSource, &KubernetesSource::tell> timer_{*this};
  io::TimerOf<KubernetesSource, &KubernetesSource::find_custom_kinds> discovery_timer_{*this};
};

}  // namespace istmo::control
