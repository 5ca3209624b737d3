// SPDX-License-Identifier: GPL-3.0-or-later
SwaggerUIBundle({ url: "../openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
