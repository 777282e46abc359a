// The objects that the gateway keeps in its namespace: a Service for each host that is offered,
// and the status of each document. ObjectKeeper adds label and owner.
//
// Pure; any thread.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/desired.h"
#include "control/observed.h"
#include "control/service_offers.h"
#include "control/status.h"
#include "control/value.h"

namespace istmo::control {

// The ConfigMap that holds what the gateway says of itself.
inline constexpr const char* kOverviewName = "istmo-overview";
// What the gateway's pods carry, and its Services select.
inline constexpr const char* kPodLabel = "app.kubernetes.io/name";
inline constexpr const char* kPodLabelValue = "istmo";

// "listener-backend-status": a name of an object that is made for a document; a digest stands for
// the end of what would be too long.
std::string object_name(const ObjectId& document, std::string_view suffix);

// Whatever cannot be a Service, with the reason, goes to `problems`, by listener.
std::map<ObjectId, Value> service_objects(const std::vector<ServiceOffer>& offers,
                                          const std::map<ServicePlace, uint16_t>& ports,
                                          std::map<std::string, std::string>& problems);

// ConfigMaps, and Secrets for what holds codes. A document that is an object of its own kind has
// its status itself. Remembers what it wrote last: of thousands a few
// change at a time.
class StatusObjects {
 public:
  std::map<ObjectId, Value> of(const std::vector<ObjectStatus>& objects);

 private:
  struct Written {
    ObjectStatus status;
    ObjectId object;
    Value content;
  };
  std::map<ObjectId, Written> written_;  // by document
};

// A Secret of type kubernetes.io/tls.
std::pair<ObjectId, Value> credentials_object(const std::string& name,
                                              const proxy::Credentials& credentials);

// `overview`: lists by verb. Left out where it is larger than an object may be.
std::pair<ObjectId, Value> overview_object(
    const std::map<std::string, std::vector<Value>>& overview);

}  // namespace istmo::control
