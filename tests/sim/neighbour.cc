#include "neighbour.h"

#include <boost/test/unit_test.hpp>
#include <utility>

#include "dataplane/proxy/mesh_channel.h"
#include "site.h"

namespace istmo::sim {
namespace {

transport::TlsContext context_of(const std::string& site_id) {
  const proxy::Credentials credentials = credentials_of(site_id);
  return *transport::TlsContext::create({.role = transport::TlsRole::client,
                                         .certificate_chain_pem = credentials.certificate,
                                         .private_key_pem = credentials.private_key,
                                         .ca_pem = credentials.ca});
}

codec::LinkMuxOptions mux_options(const std::string& site_id, uint32_t connection) {
  codec::LinkMuxOptions options;
  options.container_id = options.site_name = site_id;
  options.connection = connection;
  return options;
}

}  // namespace

Neighbour::Neighbour(io::SimLoop& loop, const std::string& site_id, uint32_t connection)
    : loop_(loop), context_(context_of(site_id)), options_(mux_options(site_id, connection)) {}

Neighbour::~Neighbour() { ASSERT(connect_op_.is_idle() && (!transport_ || is_ended_)); }

void Neighbour::start(const io::Address& address) { loop_.connect(connect_op_, address, {}); }

void Neighbour::on_connected(io::Completion&& done) {
  BOOST_TEST_REQUIRE(!done.failed());
  mux_ = std::make_unique<codec::LinkMux>(options_, loop_.now());
  transport::TransportSink& sink = *this;
  transport_ = std::make_unique<transport::TlsTransport>(loop_, done.fd, context_, sink,
                                                         codec::TlsEngineOptions{.alpn = {"amqp"}});
  transport_->start();
}

void Neighbour::write(std::string_view octets) {
  mux_->write(mesh_, io::Chain::copy_of(octets));
  flush();
}

void Neighbour::write_crumbs(std::string_view octets) {
  for (const char octet : octets) write({&octet, 1});
}

void Neighbour::finish() {
  mux_->finish(mesh_);
  flush();
}

void Neighbour::grant_again() {
  grants = true;
  mux_->grant(mesh_, std::exchange(not_granted_bytes_, 0));
  flush();
}

void Neighbour::close() {
  if (transport_ && !is_ended_) {
    transport_->close(io::Loop::Ending::abort, Error::closed("the test ends"));
  }
}

void Neighbour::on_transport_data(io::Chain&& bytes) {
  mux_->feed(std::move(bytes), loop_.now());
  take_events();
  flush();
}

void Neighbour::take_events() {
  using Kind = codec::LinkEvent::Kind;
  codec::LinkEvent event;
  while (mux_->next_event(event)) {
    switch (event.kind) {
      case Kind::opened: mesh_ = *mux_->open_stream({.to = std::string(proxy::kMeshKey)}); break;
      case Kind::stream_answered: has_mesh_ = true; break;
      case Kind::stream_reset: is_mesh_refused_ = true; break;
      case Kind::stream_drained: sent_bytes_ += event.count; break;
      case Kind::stream_data:
        if (grants) mux_->grant(mesh_, event.bytes.size());
        else not_granted_bytes_ += event.bytes.size();
        received += event.bytes.to_string();
        break;
      case Kind::closed:
        closed_because_ = event.text;
        transport_->close(io::Loop::Ending::orderly, Error::closed(event.text));
        break;
      default: break;
    }
  }
}

void Neighbour::flush() {
  if (!transport_ || transport_->is_closed()) return;
  io::Chain output;
  mux_->take_output(output, UINT64_MAX, loop_.now());
  if (!output.empty()) transport_->send(std::move(output));
  take_events();
  loop_.timers().arm(tick_, mux_->next_tick());
}

void Neighbour::on_tick() {
  mux_->tick(loop_.now());
  take_events();
  flush();
}

void Neighbour::on_transport_closed(const Error& error) {
  if (closed_because_.empty()) closed_because_ = error.text();
  is_ended_ = true;
  loop_.timers().cancel(tick_);
}

}  // namespace istmo::sim
