"""The cluster's name server: Services by name."""

from harness.dns import NameServer

from kube.service_map import slices_of, usable

ANSWERS_MAX = 25  # fit into a datagram of 512 octets


class ClusterNames(NameServer):
    """NAME.NAMESPACE.svc.DOMAIN is the address of the Service; of a headless one, those of its
    endpoints, each of which has HOSTNAME before that as well where its Pod says one. `known` holds
    further names, of the world outside. To be made in the node's network."""

    def __init__(self, host, domain, services, slices):
        self.host = host
        self.suffix = f".svc.{domain}"
        self.services = services
        self.slices = slices
        super().__init__(host, {})

    def addresses(self, name):
        name = name.lower()
        if not name.endswith(self.suffix):
            return super().addresses(name)
        labels = name[:-len(self.suffix)].split(".")
        if len(labels) not in (2, 3):
            return None
        *hostname, service, namespace = labels
        found = self.services.objects.get((namespace, service))
        if found is None:
            return None
        if found["spec"].get("clusterIP") not in (None, "", "None"):
            return None if hostname else [found["spec"]["clusterIP"]]
        endpoints = [one for of in slices_of(found, self.slices.all())
                     for one in of["endpoints"] or []
                     if not hostname or one.get("hostname") == hostname[0]]
        addresses = [one["addresses"][0] for one in usable(endpoints)]
        return None if hostname and not addresses else addresses[:ANSWERS_MAX]
