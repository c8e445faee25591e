import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import { SignedIn } from "./session";
import "./style.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <SignedIn>
      <App />
    </SignedIn>
  </StrictMode>,
);
