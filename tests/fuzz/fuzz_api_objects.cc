// Objects of a cluster come from whoever may write them there. Whatever the octets: reading ends,
// stays in its bounds, and what is kept as ours never says that it is somebody else's.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/rng.h"
#include "control/kubernetes/annotated.h"
#include "control/kubernetes/api_json.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_state.h"
#include "control/kubernetes/endpoint_table.h"
#include "control/kubernetes/exec_plugin.h"
#include "control/kubernetes/gateway_ingress.h"
#include "control/kubernetes/label_selector.h"
#include "control/kubernetes/list_watch.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/pod_table.h"
#include "control/kubernetes/sni_ingress.h"

namespace {

using namespace istmo;
using namespace istmo::control;

// Hands every object to all who read objects.
class Readers final : public CollectionSink, public ClusterStateSink {
 public:
  void on_object(const std::string& key, const Value& object) override {
    const std::string name = name_in_key(key);
    for (const char* kind : {"ConfigMap", "Secret"}) documents_.put_streams(kind, object);
    documents_.put_secret(object);
    for (const char* kind : {"Deployment", "Service"}) {
      documents_.put_annotated(kind, object, "west");
    }
    pods_.put(object);
    endpoints_.put_slice(object);
    endpoints_.put_service(object);
    for (const IngressAddress& address : ingress_addresses(object, "west", {"a"})) {
      ASSERT(!address.host.empty());
    }
    for (const char* kind : {"Route", "Ingress", "TLSRoute"}) {
      const SniHosts hosts = sni_hosts(kind, object);
      ASSERT(hosts.links.size() <= SniHosts::kHostsMax);
      (void)sni_obstacle(kind, object);
    }
    keeper_.on_object({"ConfigMap", name}, object);
    state_.on_object(object);
    if (const auto selector = LabelSelector::parse(selector_text(object))) {
      (void)pods_.select(*selector, NotReadyPods::included);
    }
  }
  void on_object_gone(const std::string& key) override {
    keeper_.on_gone({"ConfigMap", name_in_key(key)});
    pods_.remove(name_in_key(key));
    endpoints_.remove_slice(name_in_key(key));
  }
  void on_synced() override {}
  void on_refused(int, const std::string&) override {}
  void on_trouble(const std::string&) override {}
  void on_work() override {}

  Rng& rng() { return rng_; }

 private:
  Rng rng_{1};
  ClusterDocuments documents_;
  PodTable pods_;
  EndpointTable endpoints_;
  ObjectKeeper keeper_{"west", {"ConfigMap"}, rng_};
  ClusterState state_{"west", rng_, *this};
};

}  // namespace

// One JSON text a line: a list first, then events of a watch.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Readers readers;
  ListWatch watch({.path = "/api/v1/pods", .label_selector = {}, .field_selector = {}}, readers,
                  readers.rng());
  Instant now{1};
  KubeAccess access;
  (void)take_exec_credential(text, access);
  bool is_list = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const auto value = read_api_json(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    now = now + Duration::seconds(60);
    (void)watch.next(now);
    if (!value) watch.on_failure("no JSON", now);
    else if (is_list) watch.on_list(*value, now);
    else watch.on_event(*value, now);
    if (value) readers.on_object("west/direct", *value);
    is_list = false;
  }
  return 0;
}
