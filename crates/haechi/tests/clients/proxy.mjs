// A proxy that misbehaves as it is told: one fault for each request, in order, then none.
import http from "node:http";

export async function proxy(target) {
  const { hostname, port } = new URL(target);
  const faults = [];
  const seen = [];
  const server = http.createServer((request, reply) => {
    const fault = faults.shift() ?? {};
    seen.push({ method: request.method, url: request.url, key: request.headers["idempotency-key"], last: request.headers["last-event-id"] });
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      if (fault.hang) return;
      if (fault.status) {
        reply.writeHead(fault.status, fault.headers ?? { "content-type": "text/html" });
        reply.end(fault.body ?? "<h1>a page of the proxy's own</h1>");
        return;
      }
      if (fault.refuse) {
        request.socket.destroy();
        return;
      }
      const forward = http.request({ hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
        if (fault.drop) {
          // The server has done it; its reply is lost on the way.
          answer.resume();
          answer.on("end", () => request.socket.destroy());
          return;
        }
        reply.writeHead(answer.statusCode, answer.headers);
        let left = fault.cut ?? Infinity;
        answer.on("data", (chunk) => {
          if (fault.mute && left < Infinity) return;
          reply.write(chunk.subarray(0, left));
          left -= chunk.length;
          if (left <= 0) fault.mute ? (left = 0) : request.socket.destroy();
        });
        answer.on("end", () => reply.end());
        answer.on("error", () => request.socket.destroy());
      });
      reply.on("close", () => forward.destroy());
      forward.on("error", () => request.socket.destroy());
      forward.end(Buffer.concat(chunks));
    });
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    faults,
    seen,
    /** Breaks every connection that is open. */
    cutAll: () => server.closeAllConnections(),
    end: () => (server.closeAllConnections(), server.close()),
  };
}
