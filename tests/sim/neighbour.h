// A program with a site's certificate that dials a site and says on the mesh what a test wants,
// octet by octet. Real TLS and a real LinkMux: only what is said is not what a site would say.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/codec/link_mux.h"
#include "dataplane/io/sim_loop.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::sim {

class Neighbour final : private transport::TransportSink {
 public:
  // `connection`: the index that it claims for its connection.
  Neighbour(io::SimLoop& loop, const std::string& site_id, uint32_t connection = 0);
  ~Neighbour();

  // Dials; the mesh is asked for as soon as the link is open.
  void start(const io::Address& address);
  void write(std::string_view octets);
  // As write(), each octet in a data section of its own.
  void write_crumbs(std::string_view octets);
  void finish();  // its direction of the mesh
  void grant_again();
  void close();

  bool is_open() const { return mux_ && mux_->is_open(); }
  bool has_mesh() const { return has_mesh_; }
  bool is_mesh_refused() const { return is_mesh_refused_; }
  bool is_closed() const { return is_ended_; }
  const std::string& closed_because() const { return closed_because_; }
  uint64_t sent_bytes() const { return sent_bytes_; }

  bool grants = true;    // else the site gets no credit beyond its first window
  std::string received;  // on the mesh

 private:
  void on_connected(io::Completion&& done);
  void on_transport_open() override { flush(); }
  void on_transport_data(io::Chain&& bytes) override;
  void on_transport_end() override {}
  void on_transport_drained(uint64_t) override {}
  void on_transport_closed(const Error& error) override;
  void on_tick();
  void take_events();
  void flush();

  io::SimLoop& loop_;
  transport::TlsContext context_;
  codec::LinkMuxOptions options_;
  std::unique_ptr<codec::LinkMux> mux_;
  std::unique_ptr<transport::TlsTransport> transport_;
  codec::StreamId mesh_;
  uint64_t sent_bytes_ = 0;
  uint64_t not_granted_bytes_ = 0;
  bool has_mesh_ = false;
  bool is_mesh_refused_ = false;
  bool is_ended_ = false;
  std::string closed_because_;
  io::OpOf<Neighbour, &Neighbour::on_connected> connect_op_{*this};
  io::TimerOf<Neighbour, &Neighbour::on_tick> tick_{*this};
};

}  // namespace istmo::sim
