// What commands do in a cluster.
#include "control/cli/commands.h"
#include "control/cli/command_line.h"
#include "control/cli/platform.h"
#include "control/cli/terminal.h"
#include "control/document_text.h"
#include "control/kubernetes/site_manifest.h"

namespace istmo::control {

Result<int> print_site_manifest(const Arguments& arguments) {
  const KubeAccess access = TRY(kube_access(arguments.kube, arguments.namespace_name));
  const SiteManifestOptions options{
      .namespace_name = access.namespace_name,
      .site_name = arguments.init.site_name,
      .link_access = arguments.init.ingress == "none" ? "none" : "default",
      .image = arguments.init.image,
      .image_pull_secret = arguments.init.image_pull_secret};
  std::vector<Value> objects = gateway_objects(options);
  objects.insert(objects.begin(), site_config_map(options));
  if (arguments.output == Output::json) {
    Value list = Value::map();
    list.set("apiVersion", "v1");
    list.set("kind", "List");
    Value& items = list.set("items", Value::list());
    for (Value& object : objects) items.add(std::move(object));
    print(write_value(list, Format::json));
    return kExitDone;
  }
  std::string text;
  for (const Value& object : objects) {
    if (!text.empty()) text += "---\n";
    text += write_value(object, Format::yaml);
  }
  print(text);
  return kExitDone;
}

}  // namespace istmo::control
