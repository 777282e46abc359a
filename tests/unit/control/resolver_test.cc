// Names to addresses, asked of a DNS server of the test's own.
#include "control/resolver.h"

#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "control_fixture.h"

using namespace istmo;
using namespace istmo::control;

BOOST_AUTO_TEST_SUITE(resolver)

namespace {

// A DNS server on the loop: answers A and AAAA of the names it knows, NXDOMAIN for others.
class DnsServer {
 private:
  struct Alias {
    std::string name;
    uint8_t ttl;
  };
  struct Question {
    std::string name;
    Instant at;
  };

 public:
  explicit DnsServer(io::Loop& loop) : loop_(loop) {
    fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    BOOST_REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    loop_.poll(poll_, io::Fd(fd_), POLLIN);
  }
  ~DnsServer() {
    if (!poll_.is_idle()) loop_.cancel(poll_);
    while (!poll_.is_idle()) loop_.run_turn(Duration::milliseconds(1));
    ::close(fd_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  std::map<std::string, std::vector<std::string>> known;  // name -> addresses
  std::map<std::string, Alias> aliases;                   // name -> another one
  uint8_t ttl = 1;                                        // of addresses, in seconds
  std::vector<Question> questions;                        // A and AAAA are one each

 private:
  void on_question(io::Completion&& done) {
    if (done.failed()) return;
    std::array<char, 512> buffer;
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const ssize_t count =
        ::recvfrom(fd_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (count > 16) {
      const std::string reply = answer(std::string(buffer.data(), static_cast<size_t>(count)));
      ::sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
    loop_.poll(poll_, io::Fd(fd_), POLLIN);
  }

  // RFC 1035 4.1: header, the question as it came, answers that point to its name.
  std::string answer(const std::string& question) {
    std::string name;
    size_t at = 12;
    while (at < question.size() && question[at] != 0) {
      const size_t length = static_cast<uint8_t>(question[at]);
      name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
      at += length + 1;
    }
    questions.push_back({name, loop_.now()});
    const bool wants_ipv6 = question.at(at + 2) == 28;
    std::string owner = "\xc0\x0c";
    std::string records;
    int count = 0;
    if (const auto alias = aliases.find(name); alias != aliases.end()) {
      name = alias->second.name;
      records += record(owner, 5, alias->second.ttl, encoded(name));
      owner = encoded(name);
      ++count;
    }
    for (const std::string& address : known[name]) {
      const int family = address.contains(':') ? AF_INET6 : AF_INET;
      if ((family == AF_INET6) != wants_ipv6) continue;
      std::string octets(family == AF_INET6 ? 16 : 4, '\0');
      ::inet_pton(family, address.c_str(), octets.data());
      records += record(owner, wants_ipv6 ? 28 : 1, ttl, octets);
      ++count;
    }
    std::string reply = question.substr(0, 2) + (known[name].empty() ? "\x81\x83" : "\x81\x80") +
                        std::string("\x00\x01\x00", 3) + static_cast<char>(count) +
                        std::string(4, '\0') + question.substr(12, at + 5 - 12) + records;
    return reply;
  }

  static std::string encoded(std::string_view name) {
    std::string labels;
    while (!name.empty()) {
      const std::string_view label = name.substr(0, name.find('.'));
      labels += static_cast<char>(label.size());
      labels += label;
      name.remove_prefix(std::min(label.size() + 1, name.size()));
    }
    return labels + '\0';
  }

  static std::string record(const std::string& owner, char type, uint8_t seconds,
                            const std::string& data) {
    return owner + '\0' + type + std::string("\x00\x01\x00\x00\x00", 5) +
           static_cast<char>(seconds) + '\0' + static_cast<char>(data.size()) + data;
  }

  io::Loop& loop_;
  int fd_ = -1;
  uint16_t port_ = 0;
  io::OpOf<DnsServer, &DnsServer::on_question> poll_{*this};
};

using Texts = std::vector<std::string>;

class Answers final : public ResolverSink {
 public:
  void on_host_resolved(const std::string& host, const HostAddresses& addresses) override {
    told[host] = addresses;
  }
  std::map<std::string, HostAddresses> told;
};

struct Resolving {
  explicit Resolving(std::string_view resolv_conf = "") {
    auto made = Resolver::make(*loop, answers,
                               {.resolv_conf = folder.write("resolv.conf", resolv_conf),
                                .servers = {server.address()},
                                .ttl_min = Duration::milliseconds(50),
                                .retry_first = Duration::milliseconds(20),
                                .query_timeout = Duration::milliseconds(300),
                                .tries = 2});
    BOOST_REQUIRE(made.has_value());
    resolver = std::move(*made);
  }
  ~Resolving() {
    resolver->stop();
    while (!resolver->is_idle()) loop->run_turn(Duration::milliseconds(1));
  }
  // Until the name has addresses: at least one.
  const Texts& resolve(const std::string& name) {
    resolver->watch({name});
    run_until(*loop, [&] { return !answers.told[name].addresses.empty(); });
    return answers.told[name].addresses;
  }

  const TestFolder folder;
  std::unique_ptr<io::Loop> loop = make_test_loop();
  DnsServer server{*loop};
  Answers answers;
  std::unique_ptr<Resolver> resolver;
};

}  // namespace

BOOST_AUTO_TEST_CASE(ipv4_and_ipv6_addresses_are_found) {
  Resolving test;
  test.server.known["db.test"] = {"fd00::5", "10.0.0.9", "10.0.0.10"};
  test.resolver->watch({"db.test"});
  BOOST_TEST(test.answers.told.empty());
  run_until(*test.loop, [&] { return !test.answers.told["db.test"].addresses.empty(); });
  BOOST_TEST(
      bool(test.answers.told["db.test"].addresses == Texts{"10.0.0.10", "10.0.0.9", "fd00::5"}));
  BOOST_TEST(test.resolver->hosts().at("db.test").error.empty());
}

BOOST_AUTO_TEST_CASE(a_name_is_asked_again_when_its_ttl_is_over_and_not_before) {
  Resolving test;
  test.server.known["db.test"] = {"10.0.0.1"};
  test.resolve("db.test");
  const size_t asked_first = test.server.questions.size();
  test.server.known["db.test"] = {"10.0.0.2"};
  run_until(*test.loop,
            [&] { return test.answers.told["db.test"].addresses == Texts{"10.0.0.2"}; });
  const auto& asked = test.server.questions;
  BOOST_REQUIRE(asked.size() > asked_first);
  const Duration kept = asked[asked_first].at - asked[asked_first - 1].at;
  BOOST_TEST((kept >= Duration::seconds(test.server.ttl)));
}

// An alias moves a service from one host to another, and a host's address seldom changes.
BOOST_AUTO_TEST_CASE(the_ttl_of_an_alias_counts_too) {
  Resolving test;
  test.server.ttl = 200;
  test.server.known["old.test"] = {"10.0.0.1"};
  test.server.known["new.test"] = {"10.0.0.2"};
  test.server.aliases = {{"db.test", {"old.test", 1}}};
  BOOST_TEST((test.resolve("db.test") == Texts{"10.0.0.1"}));
  test.server.aliases = {{"db.test", {"new.test", 1}}};
  run_until(*test.loop,
            [&] { return test.answers.told["db.test"].addresses == Texts{"10.0.0.2"}; });
}

BOOST_AUTO_TEST_CASE(a_ttl_of_nothing_is_the_shortest_one) {
  Resolving test;
  test.server.ttl = 0;
  test.server.known["db.test"] = {"10.0.0.1"};
  test.resolve("db.test");
  test.server.known["db.test"] = {"10.0.0.2"};
  run_until(*test.loop,
            [&] { return test.answers.told["db.test"].addresses == Texts{"10.0.0.2"}; });
}

// resolv.conf(5): search domains in their order, before the name as it is if it has no dot.
BOOST_AUTO_TEST_CASE(short_names_are_completed_by_the_search_domains) {
  Resolving test("search one.test two.test\n");
  test.server.known["db"] = {"10.0.0.1"};
  test.server.known["db.two.test"] = {"10.0.0.2", "fd00::2"};
  BOOST_TEST((test.resolve("db") == Texts{"10.0.0.2", "fd00::2"}));
  std::vector<std::string> asked;
  for (const auto& question : test.server.questions) {
    if (asked.empty() || asked.back() != question.name) asked.push_back(question.name);
  }
  BOOST_TEST((asked == Texts{"db.one.test", "db.two.test"}));
  test.server.known.erase("db.two.test");
  run_until(*test.loop, [&] { return test.answers.told["db"].addresses == Texts{"10.0.0.1"}; });
}

BOOST_AUTO_TEST_CASE(names_with_dots_are_asked_as_they_are_before_they_are_completed) {
  Resolving test("search one.test\n");
  test.server.known["a.test"] = {"10.0.0.1"};
  test.server.known["a.test.one.test"] = {"10.0.0.2"};
  test.server.known["b.sub.one.test"] = {"10.0.0.3"};
  BOOST_TEST((test.resolve("a.test") == Texts{"10.0.0.1"}));
  BOOST_TEST((test.resolve("b.sub") == Texts{"10.0.0.3"}));
}

BOOST_AUTO_TEST_CASE(failure_keeps_the_last_answer_and_is_tried_again) {
  Resolving test;
  test.server.ttl = 0;
  test.server.known["db.test"] = {"10.0.0.1"};
  test.resolver->watch({"db.test", "new.test"});
  run_until(*test.loop, [&] {
    return !test.answers.told["new.test"].error.empty() &&
           !test.answers.told["db.test"].addresses.empty();
  });
  BOOST_TEST(test.answers.told["new.test"].addresses.empty());
  test.server.known.clear();
  run_until(*test.loop, [&] { return !test.answers.told["db.test"].error.empty(); });
  BOOST_TEST(bool(test.answers.told["db.test"].addresses == Texts{"10.0.0.1"}));
  test.server.known["new.test"] = {"10.0.0.3"};
  run_until(*test.loop, [&] { return test.answers.told["new.test"].error.empty(); });
  BOOST_TEST(bool(test.answers.told["new.test"].addresses == Texts{"10.0.0.3"}));
}

BOOST_AUTO_TEST_CASE(numeric_and_local_hosts_need_no_server) {
  Resolving test;
  test.server.known["localhost"] = {"10.0.0.1"};
  test.resolver->watch({"127.0.0.9", "localhost"});
  run_until(*test.loop, [&] { return test.answers.told.size() == 2; });
  BOOST_TEST(bool(test.answers.told["127.0.0.9"].addresses == Texts{"127.0.0.9"}));
  const auto& local = test.answers.told["localhost"].addresses;
  BOOST_TEST(std::count(local.begin(), local.end(), "127.0.0.1") == 1);
  BOOST_TEST(test.server.questions.empty());
}

BOOST_AUTO_TEST_CASE(forgotten_hosts_are_not_told) {
  Resolving test;
  test.server.known["a.test"] = {"10.0.0.1"};
  test.server.known["b.test"] = {"10.0.0.2"};
  test.resolver->watch({"a.test"});
  test.resolver->watch({"b.test"});
  run_until(*test.loop, [&] { return test.answers.told.contains("b.test"); });
  BOOST_TEST(!test.answers.told.contains("a.test"));
  BOOST_TEST(!test.resolver->hosts().contains("a.test"));
}

BOOST_AUTO_TEST_CASE(stopping_with_a_question_in_flight_leaves_nothing) {
  Resolving test;
  test.resolver->watch({"a.test"});
  test.loop->run_turn(Duration{});
}

BOOST_AUTO_TEST_SUITE_END()
