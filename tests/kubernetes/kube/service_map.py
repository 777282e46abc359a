"""What kube-proxy does: Services to their endpoints, by nftables in the node's network."""

import subprocess
import threading

TABLE = "ip kube"
EXTERNAL_MARK = "0x4000"
SERVICE_NAME = "kubernetes.io/service-name"
BASE = f"""
add table {TABLE}
add map {TABLE} addresses {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
add map {TABLE} node_ports {{ type inet_proto . inet_service : verdict; }}
add set {TABLE} empty {{ type ipv4_addr . inet_proto . inet_service; }}
add set {TABLE} empty_node_ports {{ type inet_proto . inet_service; }}
add set {TABLE} to_themselves {{ type ipv4_addr . ipv4_addr; }}
add chain {TABLE} services
add chain {TABLE} from_others {{ type nat hook prerouting priority dstnat; }}
add chain {TABLE} from_here {{ type nat hook output priority -100; }}
add chain {TABLE} refuse {{ type filter hook prerouting priority -90; }}
add chain {TABLE} leaving {{ type nat hook postrouting priority srcnat; }}
add rule {TABLE} services ip daddr . meta l4proto . th dport vmap @addresses
add rule {TABLE} services fib daddr type local meta l4proto . th dport vmap @node_ports
add rule {TABLE} from_others jump services
add rule {TABLE} from_here jump services
add rule {TABLE} refuse ip daddr . meta l4proto . th dport @empty reject
add rule {TABLE} refuse fib daddr type local meta l4proto . th dport @empty_node_ports reject
add rule {TABLE} leaving meta mark {EXTERNAL_MARK} masquerade
add rule {TABLE} leaving ip saddr . ip daddr @to_themselves masquerade
add rule {TABLE} leaving ip saddr {{pods}} ip daddr != {{pods}} masquerade
"""
SETS = ("empty", "empty_node_ports", "to_themselves")
MAPS = ("addresses", "node_ports")


def service_key(endpoint_slice):
    meta = endpoint_slice["metadata"]
    return meta["namespace"], meta.get("labels", {}).get(SERVICE_NAME)


def usable(endpoints):
    """Ready ones; where there is none, those that end and still serve."""
    def of(endpoint, condition, default):
        value = endpoint.get("conditions", {}).get(condition)
        return default if value is None else value

    ready = [one for one in endpoints if of(one, "ready", True)]
    return ready or [one for one in endpoints if of(one, "serving", True)
                     and of(one, "terminating", False)]


def slices_of(service, slices):
    meta = service["metadata"]
    return [one for one in slices if service_key(one) == (meta["namespace"], meta["name"])]


def endpoints_of(service, port, slices):
    """Address and port of each endpoint that a port of a Service leads to."""
    found = [(endpoint, number["port"]) for one in slices_of(service, slices)
             for number in one["ports"] or []
             if (number.get("name") or "") == port.get("name", "")
             for endpoint in one["endpoints"] or []]
    chosen = usable([endpoint for endpoint, _ in found])
    return sorted({(endpoint["addresses"][0], number) for endpoint, number in found
                   if endpoint in chosen})


class ServiceMap(threading.Thread):
    """Brought up to date by wake(); ends with close()."""

    def __init__(self, place, services, slices, pods):
        super().__init__(name="service map", daemon=True)
        self.place = place
        self.services = services  # Watches
        self.slices = slices
        self.chains = []
        self.applied = None
        self.woken = threading.Event()
        self.closing = threading.Event()
        self.nft(BASE.replace("{pods}", pods))
        self.start()

    def nft(self, text):
        with self.place:
            subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    def wake(self, *_):
        self.woken.set()

    def run(self):
        while True:
            self.woken.wait()
            self.woken.clear()
            if self.closing.is_set():
                return
            rules = self.rules()
            if rules != self.applied:
                self.apply(*rules)
                self.applied = rules

    def close(self):
        self.closing.set()
        self.wake()
        self.join()

    def apply(self, chains, elements):
        """At once, and connections stay where they are."""
        lines = [f"flush map {TABLE} {name}" for name in MAPS]
        lines += [f"flush set {TABLE} {name}" for name in SETS]
        # Last ones first: a chain is free to go when none jumps to it.
        lines += [f"flush chain {TABLE} {name}" for name in self.chains]
        lines += [f"delete chain {TABLE} {name}" for name in self.chains]
        lines += [f"add chain {TABLE} {name}" for name in chains]
        lines += [f"add rule {TABLE} {name} {rule}" for name, rules in chains.items()
                  for rule in rules]
        lines += [f"add element {TABLE} {name} {{ {', '.join(sorted(set(of)))} }}"
                  for name, of in elements.items() if of]
        self.nft("\n".join(lines) + "\n")
        self.chains = list(chains)

    def rules(self):
        """(rules by chain, elements by map or set)"""
        chains, elements = {}, {name: [] for name in (*MAPS, *SETS)}
        slices = self.slices.all()
        ports = [(service, port) for service in self.services.all() if is_mapped(service)
                 for port in service["spec"]["ports"]]
        for number, (service, port) in enumerate(ports):
            endpoints = endpoints_of(service, port, slices)
            self.add_port(chains, elements, f"port_{number}", service, port, endpoints)
        return chains, elements

    @staticmethod
    def add_port(chains, elements, name, service, port, endpoints):
        spec, protocol = service["spec"], port["protocol"].lower()
        inner = [f"{address} . {protocol} . {port['port']}" for address in spec["clusterIPs"]]
        outer = [f"{address} . {protocol} . {port['port']}"
                 for address in outer_addresses(service)]
        node_port = [f"{protocol} . {port['nodePort']}"] if port.get("nodePort") else []
        if not endpoints:
            elements["empty"] += inner + outer
            elements["empty_node_ports"] += node_port
            return
        choices = ", ".join(f"{index} : {address} . {number}"
                            for index, (address, number) in enumerate(endpoints))
        chains[f"{name}_out"] = [] if spec.get("externalTrafficPolicy") == "Local" else [
            f"meta mark set {EXTERNAL_MARK}"]
        chains[f"{name}_out"].append(f"goto {name}")
        chains[name] = [f"meta l4proto {protocol} dnat ip to numgen random mod {len(endpoints)} "
                        f"map {{ {choices} }}"]
        elements["addresses"] += [f"{one} : goto {name}" for one in inner]
        elements["addresses"] += [f"{one} : goto {name}_out" for one in outer]
        elements["node_ports"] += [f"{one} : goto {name}_out" for one in node_port]
        elements["to_themselves"] += [f"{address} . {address}" for address, _ in endpoints]


def is_mapped(service):
    """Not what is headless, and not the API server, which is beside the node."""
    meta = service["metadata"]
    return (service["spec"].get("clusterIP") not in (None, "", "None")
            and (meta["namespace"], meta["name"]) != ("default", "kubernetes"))


def outer_addresses(service):
    ingress = service["status"].get("loadBalancer", {}).get("ingress", [])
    return [*service["spec"].get("externalIPs", []), *(one["ip"] for one in ingress
                                                       if "ip" in one)]
