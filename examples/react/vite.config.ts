import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: { chunkSizeWarningLimit: 800 }, // in kB; most of it is the hooks and what they bring along
  // `npm run dev` serves the page, backend.py the rest of it.
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
